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
#include "job_tree_walk.h"

namespace writ::workspace {

class TreeWalk final : public JobTreeWalk {
 public:
  // `root` and `state` are borrowed and outlive the walk.
  TreeWalk(int root, const InputState& state, TreeWalkLimits limits)
      : JobTreeWalk(root, Layer::kWhole, limits), state_(state) {}

  Status ForEach(const std::function<Status(const TreeEntry&)>& visit) override;

 private:
  void Prepare();
  Status WalkFolder(const Folder& folder, const Visit& visit);
  Status TakeFile(int dir, const Folder& folder, const Name& name, const std::string& path,
                  const Visit& visit);
  Status TakeFolder(const Folder& folder, const std::string& path);
  Status CheckRemoved(const Visit& visit);

  const InputState& state_;
  std::unordered_map<std::string_view, std::size_t> by_path_;  // into state_.input
  std::unordered_map<std::string_view, bool> input_folders_;   // true: a submodule's
  std::vector<Folder> todo_;
  std::vector<bool> found_;
};

}  // namespace writ::workspace
