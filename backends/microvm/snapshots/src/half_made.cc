#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "folder_names.h"
#include "writ/backends/microvm/snapshots/snapshot_store.h"
#include "writ/base/encoding.h"
#include "writ/base/folder.h"
#include "writ/base/paths.h"

namespace writ::backends::microvm {

Result<HalfMade> MakeHalfMade(int parent, mode_t mode) {
  // A sweep may take the folder between its making and its lock; then there is another.
  for (;;) {
    HalfMade made;
    made.name = kNewPrefix + HexEncode(RandomBytes(8));
    if (::mkdirat(parent, made.name.c_str(), 0700) != 0)
      return SysError(errno, "snapshot.store", "cannot make a folder for the snapshot");
    struct stat ours {};
    struct stat named {};
    made.folder.reset(
        ::openat(parent, made.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!made.folder && errno == ENOENT) continue;
    if (!made.folder || ::fchmod(made.folder.get(), mode) != 0)
      return SysError(errno, "snapshot.store", "cannot open the snapshot's folder");
    if (::flock(made.folder.get(), LOCK_EX | LOCK_NB) != 0 ||
        ::fstat(made.folder.get(), &ours) != 0 ||
        ::fstatat(parent, made.name.c_str(), &named, AT_SYMLINK_NOFOLLOW) != 0 ||
        ours.st_ino != named.st_ino)
      continue;
    return made;
  }
}

std::vector<std::string> SweepHalfMade(int parent, GarbageMode mode) {
  std::vector<std::string> out;
  for (const std::string& name : NamesIn(parent).value_or({})) {
    if (!name.starts_with(kNewPrefix) && !name.starts_with(kOldPrefix)) continue;
    UniqueFd folder(
        ::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!folder || ::flock(folder.get(), LOCK_EX | LOCK_NB) != 0) continue;
    if (mode == GarbageMode::kCollect && !RemoveTreeBeneath(parent, name)) continue;
    out.push_back(name);
  }
  return out;
}

}  // namespace writ::backends::microvm
