// What the kernel leaves in the upper layer of an overlay: whiteouts, opaque folders, and extended
// attributes of its own.
//
// Only the attributes of the mount's own namespace count. The other one is the job's: in a mount
// without userxattr it may set any user.overlay.* name, which means nothing there. In the mount's
// own namespace it can set nothing: the kernel hides or escapes those names.
#pragma once

#include <sys/stat.h>

#include <string>
#include <vector>

#include "writ/base/result.h"
#include "writ/workspace/collect.h"

namespace writ::workspace {

// A character device 0/0: what stood here in the lower layer is gone. A job cannot make one through
// an overlay.
inline bool IsWhiteout(const struct stat& st) {
  return S_ISCHR(st.st_mode) && st.st_rdev == 0;
}

enum class Opacity { kMerged, kOpaque };

// Of a folder's or file's handle (of any kind, O_PATH too). kIntegrity "workspace.overlay_forged"
// where it bears what this kind of mount never writes: a redirect, a metacopy, a whiteout mark, an
// unknown name, an opaque mark with another value or on something that is no folder.
Result<Opacity> ReadOverlayMarks(int fd, const struct stat& st, const std::string& path,
                                 OverlayXattrs xattrs);

// Whether what the lower layer has at `path` below `dir`, itself a folder of both layers, is hidden
// by the upper one: `dir` or a folder on the way is opaque, or something else stands there.
bool IsHiddenBelow(int dir, const std::string& path, OverlayXattrs xattrs);

}  // namespace writ::workspace
