// MountTree: mounts as descriptors (open_tree, fsopen, move_mount, mount_setattr: Linux 5.12).
//
// A tree is made detached, gets its attributes, and only then is attached: at no moment is anything
// visible that is not as restricted as it will stay. Needs CAP_SYS_ADMIN in the user namespace that
// owns the caller's mount namespace. Single-threaded callers; nothing here follows a symbolic link.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends {

// What is behind an absolute path of the host, or below `dir`, as an O_PATH handle. ELOOP: a
// symbolic link is on the way.
Result<UniqueFd> OpenUnlinked(const std::string& path);
Result<UniqueFd> OpenUnlinkedBeneath(int dir, const std::string& path);

// A copy of the mounts at and below `path` (an O_PATH handle), attached nowhere.
Result<UniqueFd> CloneTree(int path);
// A new file system of that type with these options (a value may be empty: a flag).
using FsOptions = std::vector<std::pair<std::string, std::string>>;
Result<UniqueFd> MakeFileSystem(const std::string& type, const FsOptions& options,
                                std::uint64_t attributes);
// MOUNT_ATTR_* for the tree and all that is mounted in it; adds, never takes away.
Status RestrictTree(int tree, std::uint64_t attributes);
// Shows what belongs to uid and gid 0 in a detached tree as these ids'. Root only; the file system
// must know idmapped mounts.
Status MapRootTo(int tree, uid_t uid, gid_t gid);
// Puts a detached tree over `target` (an O_PATH handle).
Status AttachTree(int tree, int target);

// Every mount of this namespace stops telling others and hearing from them.
Status MakeMountsPrivate();
// Makes `root` (the handle of an attached mount) the root and the working directory, and lets the
// old one go with everything mounted in it.
Status SwitchRoot(int root);

}  // namespace writ::backends
