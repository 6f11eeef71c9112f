// TreeWalk: the changes of a plain tree, found by stat data against what Materialize wrote.
//
// Reads folders beneath the root's handle, never through a link; opens no file but `.gitignore`.
// New files below ignored folders, nested repositories and names that git refuses are not told as
// changes but counted or reported.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "input_state.h"
#include "writ/base/change_source.h"
#include "writ/workspace/ignore_rules.h"

namespace writ::workspace {

struct TreeWalkLimits {
  std::uint64_t max_entries = 5'000'000;
};

class TreeWalk final : public ChangeSource {
 public:
  // `root` and `state` are borrowed and outlive the walk.
  TreeWalk(int root, const InputState& state, TreeWalkLimits limits)
      : root_(root), state_(state), limits_(limits) {}

  Status ForEach(const std::function<Status(const TreeEntry&)>& visit) override;
  Result<UniqueFd> Open(const std::string& path) override;
  Result<std::string> ReadLink(const std::string& path) override;

  const std::vector<Finding>& findings() const { return findings_; }
  std::uint64_t ignored_entries() const { return ignored_; }
  const std::vector<std::string>& ignored_examples() const { return ignored_examples_; }
  std::uint64_t files_seen() const { return seen_; }

 private:
  struct Folder {
    std::string path;  // "" for the root
    bool ignored = false;
  };
  struct Name {
    std::string text;
    unsigned char type = 0;  // d_type
  };
  using Visit = std::function<Status(const TreeEntry&)>;

  void Prepare();
  Result<std::vector<Name>> List(int dir, const std::string& path);
  Status WalkFolder(const Folder& folder, const Visit& visit);
  Status TakeFile(int dir, const Folder& folder, const Name& name, const std::string& path,
                  const Visit& visit);
  Status TakeFolder(const Folder& folder, const std::string& path);
  Status CheckRemoved(const Visit& visit);
  Result<std::uint64_t> CountBelow(const std::string& path);
  void ReadIgnoreFile(int dir, const std::string& folder);
  bool IsIgnored(const Folder& folder, const std::string& path, IgnoreRules::Kind kind);
  void NoteIgnored(const std::string& path);
  void Report(std::string code, const std::string& path, std::string detail);
  Status CountEntry(const std::string& path);

  int root_;
  const InputState& state_;
  TreeWalkLimits limits_;
  IgnoreRules rules_;
  std::vector<Folder> todo_;
  std::unordered_map<std::string_view, std::size_t> by_path_;  // into state_.input
  std::unordered_map<std::string_view, bool> input_folders_;   // true: a submodule's
  std::vector<bool> found_;
  std::vector<Finding> findings_;
  std::vector<std::string> ignored_examples_;
  std::uint64_t ignored_ = 0;
  std::uint64_t entries_ = 0;
  std::uint64_t seen_ = 0;
};

// Opens a path of a job's tree for reading, without following links or blocking; where the job took
// our permission to read away, takes it back.
Result<UniqueFd> OpenInTree(int root, const std::string& path, int flags);

}  // namespace writ::workspace
