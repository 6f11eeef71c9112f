// UpperWalk: the changes of an overlay workspace, found by reading its upper layer alone.
//
// What is not in the upper layer is as it was; what a whiteout, an opaque folder or something of
// another kind covers is gone, and which files that were is asked of the base tree. So the cost is
// that of what the job touched (and took away), whatever the repository holds. Tells the same as
// TreeWalk would of the merged tree. An untold removal and marks that the kernel does not make are
// refused ("workspace.overlay_forged").
#pragma once

#include <sys/stat.h>

#include <set>
#include <string>
#include <vector>

#include "input_state.h"
#include "job_tree_walk.h"
#include "overlay_marks.h"

namespace writ::workspace {

class UpperWalk final : public JobTreeWalk {
 public:
  // `upper` and `state` are borrowed and outlive the walk.
  UpperWalk(int upper, const InputState& state, OverlayXattrs xattrs, TreeWalkLimits limits)
      : JobTreeWalk(upper, Layer::kUpper, limits), state_(state), xattrs_(xattrs) {}

  Status ForEach(const std::function<Status(const TreeEntry&)>& visit) override;

 private:
  enum class Beneath { kNothing, kBase };  // what the upper folder is merged with
  struct Merged {
    Folder folder{};
    Beneath beneath = Beneath::kBase;
  };

  Status WalkFolder(Merged merged, const Visit& visit);
  Status TakeName(int dir, const Merged& merged, const std::string& name, const Visit& visit);
  Status TakeFile(int dir, const Merged& merged, const std::string& name, const std::string& path,
                  const struct stat& st, const Visit& visit);
  Status TakeFolder(const Merged& merged, const std::string& path);
  Status ReadIgnoreRules(int dir, const Merged& merged);
  Status HideBase(const std::string& path);
  Status CheckHidden(const std::string& path) const;

  const InputState& state_;
  OverlayXattrs xattrs_;
  std::vector<Merged> folders_;
  std::set<std::string> told_;    // paths of the input or visited ones that are there
  std::set<std::string> hidden_;  // files of the base that something covers
};

}  // namespace writ::workspace
