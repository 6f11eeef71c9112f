// Mounts, roots and namespaces. Unguarded they run as the owner of namespaces (main.cc), where /tmp
// is a file system in memory.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "attack.h"

namespace writ::hostile {
namespace {

Result Mount() {
  return From(::mount("none", "/tmp", "tmpfs", 0, nullptr) == 0);
}
Result BindMount() {
  return From(::mount("/proc/self", "/tmp", nullptr, MS_BIND, nullptr) == 0);
}
Result Remount() {
  return From(::mount(nullptr, "/tmp", nullptr, MS_REMOUNT | MS_BIND, nullptr) == 0);
}
Result Umount() {
  return From(::umount2("/tmp", MNT_DETACH) == 0);
}
Result PivotRoot() {
  return From(::syscall(SYS_pivot_root, "/tmp", "/tmp/a") == 0);
}
Result Chroot() {
  return From(::chroot("/tmp") == 0);
}
Result OpenTree() {
  return From(::open_tree(AT_FDCWD, "/tmp", OPEN_TREE_CLONE) >= 0);
}
Result MoveMount() {
  const int tree = ::open_tree(AT_FDCWD, "/tmp", OPEN_TREE_CLONE);
  if (tree >= 0)
    return From(::move_mount(tree, "", AT_FDCWD, "/tmp/a", MOVE_MOUNT_F_EMPTY_PATH) == 0);
  return From(::move_mount(AT_FDCWD, "/proc", AT_FDCWD, "/tmp", 0) == 0);
}
Result NewFileSystem() {
  const int context = ::fsopen("tmpfs", 0);
  return From(context >= 0 && ::fsconfig(context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) == 0 &&
              ::fsmount(context, 0, 0) >= 0);
}
Result PickFileSystem() {
  return From(::fspick(AT_FDCWD, "/tmp", 0) >= 0);
}
Result MountAttributes() {
  struct mount_attr attr {};
  attr.attr_clr = MOUNT_ATTR_RDONLY;
  attr.attr_set = MOUNT_ATTR_NOATIME;
  attr.attr_clr |= MOUNT_ATTR__ATIME;
  return From(::mount_setattr(AT_FDCWD, "/tmp", 0, &attr, sizeof attr) == 0);
}
Result UnshareAndMount() {
  return From(UnshareAsRoot(CLONE_NEWNS) && ::mount("none", "/tmp", "tmpfs", 0, nullptr) == 0);
}
// The pattern of many kernel flaws: an overlay mounted by who owns a user namespace.
Result OverlayInNamespace() {
  if (!UnshareAsRoot(CLONE_NEWNS)) return Result::kRefused;
  if (::mount("none", "/tmp", "tmpfs", 0, nullptr) != 0) return Result::kRefused;
  for (const char* dir : {"/tmp/l", "/tmp/u", "/tmp/w", "/tmp/m"}) {
    if (::mkdir(dir, 0700) != 0) return Result::kCannotTry;
  }
  return From(::mount("none", "/tmp/m", "overlay", 0,
                      "lowerdir=/tmp/l,upperdir=/tmp/u,workdir=/tmp/w,userxattr") == 0);
}
Result Unshares(int flags) {
  return From(::unshare(flags) == 0);
}
Result UnshareNetwork() {
  return Unshares(CLONE_NEWUSER | CLONE_NEWNET);
}
Result UnsharePids() {
  return Unshares(CLONE_NEWUSER | CLONE_NEWPID);
}
Result UnshareTime() {
  return Unshares(CLONE_NEWUSER | 0x80 /* CLONE_NEWTIME */);
}
Result SetNamespace() {
  const int fd = ::open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC);
  return From(::setns(fd, 0) == 0);
}
Result HostName() {
  return From(::sethostname("hostile", 7) == 0);
}

struct Handle {
  std::uint32_t bytes = 128;
  std::int32_t type = 1;
  unsigned char handle[128] = {};
};
// A file by its number, past every directory above it: the way out of a container that was
// published first.
Result OpenByHandle() {
  Handle handle;
  int mount = 0;
  const std::string path = Target("KEY_FILE");
  if (::syscall(SYS_name_to_handle_at, AT_FDCWD, path.c_str(), &handle, &mount, 0) != 0) {
    handle.bytes = 8;
    handle.handle[0] = 2;  // the root of most file systems
  }
  const int root = ::open("/var/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const int at = root >= 0 ? root : ::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  return From(::syscall(SYS_open_by_handle_at, at, &handle, O_RDONLY) >= 0 || errno == ESTALE);
}

}  // namespace

const std::vector<Attack>& MountAttacks() {
  static const std::vector<Attack> attacks = {
      {"mount", Mount},
      {"bind-mount", BindMount},
      {"remount", Remount},
      {"umount", Umount},
      {"pivot-root", PivotRoot},
      {"chroot", Chroot},
      {"open-tree", OpenTree},
      {"move-mount", MoveMount},
      {"fsopen", NewFileSystem},
      {"fspick", PickFileSystem},
      {"mount-setattr", MountAttributes},
      {"unshare-and-mount", UnshareAndMount},
      {"overlay-in-namespace", OverlayInNamespace},
      {"unshare-network", UnshareNetwork},
      {"unshare-pids", UnsharePids},
      {"unshare-time", UnshareTime},
      {"setns", SetNamespace},
      {"sethostname", HostName},
      {"open-by-handle", OpenByHandle},
  };
  return attacks;
}

}  // namespace writ::hostile
