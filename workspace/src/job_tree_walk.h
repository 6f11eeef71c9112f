// JobTreeWalk: what the walks of a job's output share - reading beneath the root's handle, the
// ignore rules of the final tree, findings, bounds.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <vector>

#include "writ/base/change_source.h"
#include "writ/workspace/finding.h"
#include "writ/workspace/ignore_rules.h"

namespace writ::workspace {

struct TreeWalkLimits {
  std::uint64_t max_entries = 5'000'000;
};

class JobTreeWalk : public ChangeSource {
 public:
  Result<UniqueFd> Open(const std::string& path) override;
  Result<std::string> ReadLink(const std::string& path) override;

  const std::vector<Finding>& findings() const { return findings_; }
  std::uint64_t ignored_entries() const { return ignored_; }
  const std::vector<std::string>& ignored_examples() const { return ignored_examples_; }
  std::uint64_t files_seen() const { return seen_; }

 protected:
  using Visit = std::function<Status(const TreeEntry&)>;
  struct Folder {
    std::string path{};  // "" for the root
    bool ignored = false;
  };
  struct Name {
    std::string text;
    unsigned char type = 0;  // d_type
  };

  enum class Layer { kWhole, kUpper };  // in an upper layer whiteouts are no files

  // `root` is borrowed and outlives the walk.
  JobTreeWalk(int root, Layer layer, TreeWalkLimits limits)
      : root_(root), limits_(limits), layer_(layer) {}

  Result<std::vector<Name>> List(int dir, const std::string& path);
  // Files below a folder that is not carried. Uses the walk's own bound on entries.
  Result<std::uint64_t> CountBelow(const std::string& path);
  void ReadIgnoreFile(int dir, const std::string& folder);
  bool IsIgnored(const Folder& folder, const std::string& path, IgnoreRules::Kind kind) const;
  void NoteIgnored(const std::string& path);
  void Report(std::string code, const std::string& path, std::string detail);
  Status CountEntry(const std::string& path);
  static Error OverLimit(const std::string& path, std::string_view what);
  static std::string Join(const std::string& folder, const std::string& name) {
    return folder.empty() ? name : folder + "/" + name;
  }
  static TreeEntry EntryOf(const std::string& path, const struct stat& st);

  int root_;
  TreeWalkLimits limits_;
  IgnoreRules rules_;
  std::uint64_t seen_ = 0;

 private:
  Layer layer_;
  std::vector<Finding> findings_;
  std::vector<std::string> ignored_examples_;
  std::uint64_t ignored_ = 0;
  std::uint64_t entries_ = 0;
};

// Opens a path of a job's tree for reading, without following links or blocking; where the job took
// our permission to read away, takes it back.
Result<UniqueFd> OpenInTree(int root, const std::string& path, int flags);

}  // namespace writ::workspace
