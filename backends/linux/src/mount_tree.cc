#include "writ/backends/linux/mount_tree.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace writ::backends {
namespace {

Result<UniqueFd> OpenPath(int dir, const std::string& path, std::uint64_t resolve) {
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = resolve | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  UniqueFd fd(static_cast<int>(::syscall(SYS_openat2, dir, path.c_str(), &how, sizeof how)));
  if (fd) return fd;
  const int err = errno;
  if (err == ELOOP)
    return SysError(err, "mount.symlink", "the path " + path + " leads through a symbolic link");
  return SysError(err, "mount.path", "cannot open " + path);
}

Status WriteMap(const std::string& path, std::uint64_t id) {
  const std::string line = "0 " + std::to_string(id) + " 1\n";
  UniqueFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file || ::write(file.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size()))
    return SysError(errno, "mount.idmap", "cannot write an id map");
  return {};
}

int DoNothing(void*) {
  for (;;) ::pause();
}

// A user namespace is the kernel's way to say a map. It is made with a process that does nothing,
// on our memory - copying that would be most of what it costs - and stays for as long as its
// descriptor.
Result<UniqueFd> NamespaceOfMap(uid_t uid, gid_t gid) {
  alignas(16) char stack[8192];
  const int pid =
      ::clone(DoNothing, stack + sizeof stack, CLONE_NEWUSER | CLONE_VM | SIGCHLD, nullptr);
  if (pid < 0) return SysError(errno, "mount.idmap", "cannot make a user namespace for a map");
  const std::string proc = "/proc/" + std::to_string(pid) + "/";
  Status mapped = WriteMap(proc + "gid_map", gid);
  if (mapped) mapped = WriteMap(proc + "uid_map", uid);
  UniqueFd fd(::open((proc + "ns/user").c_str(), O_RDONLY | O_CLOEXEC));
  const int err = errno;
  ::kill(pid, SIGKILL);  // our child, not yet waited for
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (!mapped) return std::move(mapped).error();
  if (!fd) return SysError(err, "mount.idmap", "cannot hold the user namespace of a map");
  return fd;
}

}  // namespace

Result<UniqueFd> OpenUnlinked(const std::string& path) {
  return OpenPath(AT_FDCWD, path, 0);
}

Result<UniqueFd> OpenUnlinkedBeneath(int dir, const std::string& path) {
  return OpenPath(dir, path, RESOLVE_BENEATH);
}

Result<UniqueFd> CloneTree(int path) {
  UniqueFd tree(
      ::open_tree(path, "", AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (!tree) return SysError(errno, "mount.clone", "cannot copy a mount");
  return tree;
}

Result<UniqueFd> MakeFileSystem(const std::string& type, const FsOptions& options,
                                std::uint64_t attributes) {
  UniqueFd context(::fsopen(type.c_str(), FSOPEN_CLOEXEC));
  if (!context) return SysError(errno, "mount.fsopen", "the kernel gives no " + type);
  for (const auto& [name, value] : options) {
    const bool flag = value.empty();
    if (::fsconfig(context.get(), flag ? FSCONFIG_SET_FLAG : FSCONFIG_SET_STRING, name.c_str(),
                   flag ? nullptr : value.c_str(), 0) != 0)
      return SysError(errno, "mount.option", type + " does not take the option " + name);
  }
  if (::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0)
    return SysError(errno, "mount.create", "cannot make a " + type);
  UniqueFd tree(::fsmount(context.get(), FSMOUNT_CLOEXEC, static_cast<unsigned>(attributes)));
  if (!tree) return SysError(errno, "mount.fsmount", "cannot mount a " + type);
  return tree;
}

Status RestrictTree(int tree, std::uint64_t attributes) {
  struct mount_attr attr {};
  attr.attr_set = attributes;
  if (::mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof attr) != 0)
    return SysError(errno, "mount.attributes", "cannot restrict a mount");
  return {};
}

Status MapRootTo(int tree, uid_t uid, gid_t gid) {
  WRIT_ASSIGN(UniqueFd map, NamespaceOfMap(uid, gid));
  struct mount_attr attr {};
  attr.attr_set = MOUNT_ATTR_IDMAP;
  attr.userns_fd = static_cast<std::uint64_t>(map.get());
  if (::mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof attr) != 0)
    return SysError(errno, "mount.idmap", "this file system has no idmapped mounts");
  return {};
}

Status AttachTree(int tree, int target) {
  if (::move_mount(tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0)
    return SysError(errno, "mount.attach", "cannot attach a mount");
  return {};
}

Status MakeMountsPrivate() {
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return SysError(errno, "mount.private", "cannot make the mounts private");
  return {};
}

Status SwitchRoot(int root) {
  // Both arguments "." - the old root ends up over the new one and is taken off again - need no
  // directory for the old root.
  if (::fchdir(root) != 0 || ::syscall(SYS_pivot_root, ".", ".") != 0)
    return SysError(errno, "mount.pivot", "cannot change the root directory");
  if (::umount2(".", MNT_DETACH) != 0)
    return SysError(errno, "mount.detach", "cannot let the old root directory go");
  if (::chdir("/") != 0) return SysError(errno, "mount.pivot", "cannot enter the new root");
  return {};
}

}  // namespace writ::backends
