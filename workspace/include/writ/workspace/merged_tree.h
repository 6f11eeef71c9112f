// MergedTree: the workspace as its job has left it, read beneath handles and without a mount: a
// plain tree, or the upper layer of an overlay above the lower one.
//
// The upper layer is hostile: nothing is followed (L13), and marks that the kernel does not make
// are refused as UpperWalk refuses them ("workspace.overlay_forged"). What a whiteout, an opaque
// folder or something of another kind covers is not there. Each name costs what its folder holds;
// nothing else is read. Thread-compatible; the handles are borrowed.
#pragma once

#include <sys/stat.h>

#include <functional>
#include <string>

#include "writ/base/result.h"
#include "writ/base/unique_fd.h"
#include "writ/workspace/collect.h"

namespace writ::workspace {

class MergedTree {
 public:
  // Which layer something was found in.
  enum class Origin {
    kJob,   // a plain tree, or the upper layer: the job may have made it
    kBase,  // the lower layer: nobody but us has
  };

  static MergedTree Plain(int tree) { return MergedTree(tree, -1, OverlayXattrs::kTrusted); }
  static MergedTree Overlay(int upper, int lower, OverlayXattrs xattrs) {
    return MergedTree(upper, lower, xattrs);
  }

  // Each name in the folder at `path` ("" is the root) once, with its kind (st_mode), in no
  // particular order; `visit` says whether to go on. What vanishes meanwhile is left out.
  Status ForEachIn(const std::string& path,
                   const std::function<bool(const std::string& name, mode_t mode)>& visit) const;

  struct Opened {
    UniqueFd fd{};
    struct stat info {};
    Origin origin = Origin::kJob;
  };
  // As OpenBeneath; ENOENT where something covers it.
  Result<Opened> Open(const std::string& path, int flags) const;

 private:
  MergedTree(int upper, int lower, OverlayXattrs xattrs)
      : upper_(upper), lower_(lower), xattrs_(xattrs) {}

  int upper_;
  int lower_;  // -1: plain
  OverlayXattrs xattrs_;
};

}  // namespace writ::workspace
