#include "overlay_harness.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>

#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::workspace::test {
namespace {
namespace fs = std::filesystem;

std::string Why(const std::string& what) {
  return what + ": " + std::strerror(errno);
}

// A user namespace in which the files of uid 0 are those of `uid`.
UniqueFd NamespaceFor(uid_t uid) {
  Pipe ready = MakePipe().value();
  Pipe done = MakePipe().value();
  pid_t child = ::fork();
  if (child == 0) {
    char byte = 0;
    bool made = ::unshare(CLONE_NEWUSER) == 0;
    (void)!::write(ready.write_end.get(), made ? "y" : "n", 1);
    done.write_end.reset();
    (void)!::read(done.read_end.get(), &byte, 1);
    ::_exit(0);
  }
  char answer = 'n';
  (void)!::read(ready.read_end.get(), &answer, 1);
  UniqueFd space;
  if (answer == 'y') {
    std::string proc = "/proc/" + std::to_string(child);
    std::string map = "0 " + std::to_string(uid) + " 1";
    for (const char* file : {"/uid_map", "/gid_map"}) {
      UniqueFd fd(::open((proc + file).c_str(), O_WRONLY | O_CLOEXEC));
      (void)!::write(fd.get(), map.data(), map.size());
    }
    space.reset(::open((proc + "/ns/user").c_str(), O_RDONLY | O_CLOEXEC));
  }
  done.write_end.reset();
  int status = 0;
  ::waitpid(child, &status, 0);
  return space;
}

std::string BindIdmapped(const std::string& from, const std::string& to, const UniqueFd& space) {
  UniqueFd tree(static_cast<int>(
      ::syscall(SYS_open_tree, AT_FDCWD, from.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)));
  if (!tree) return Why("open_tree");
  struct mount_attr attr {};
  attr.attr_set = MOUNT_ATTR_IDMAP;
  attr.userns_fd = static_cast<std::uint64_t>(space.get());
  if (::syscall(SYS_mount_setattr, tree.get(), "", AT_EMPTY_PATH, &attr, sizeof attr) != 0)
    return Why("mount_setattr");
  if (::syscall(SYS_move_mount, tree.get(), "", AT_FDCWD, to.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0)
    return Why("move_mount");
  return "";
}

// Once per process: mounts made here are nobody else's.
bool OwnMounts() {
  static const bool done = ::unshare(CLONE_NEWNS) == 0 &&
                           ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
  return done;
}

// Empty, or what went wrong.
std::string MountLayers(const std::string& options, const std::string& at) {
  const bool mounted =
      ::mount("overlay", at.c_str(), "overlay", MS_NOSUID | MS_NODEV, options.c_str()) == 0;
  return mounted ? "" : Why("mount");
}

// The job's uid is root in there and makes the mount; out here it is attached at the same place.
std::string MountFromWithin(const UniqueFd& space, const std::string& options,
                            const std::string& at) {
  SocketPair sockets = MakeSeqpacketPair().value();
  pid_t child = ::fork();
  if (child == 0) {
    std::string error;
    UniqueFd tree;
    if (::setns(space.get(), CLONE_NEWUSER) != 0 || ::setgroups(0, nullptr) != 0 ||
        ::setresgid(0, 0, 0) != 0 || ::setresuid(0, 0, 0) != 0 || ::unshare(CLONE_NEWNS) != 0)
      error = Why("namespaces of the job's uid");
    if (error.empty()) error = MountLayers(options, at);
    if (error.empty()) {
      tree.reset(static_cast<int>(
          ::syscall(SYS_open_tree, AT_FDCWD, at.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)));
      if (!tree) error = Why("open_tree");
    }
    if (error.empty()) {
      (void)SendWithFds(sockets.second.get(), "mounted", {tree.get()}).has_value();
    } else {
      (void)SendWithFds(sockets.second.get(), error, {}).has_value();
    }
    ::_exit(0);
  }
  sockets.second.reset();
  auto answer = ReceiveWithFds(sockets.first.get(), 4096);
  int status = 0;
  ::waitpid(child, &status, 0);
  if (!answer) return answer.error().ToString();
  if (answer->fds.size() != 1) return answer->bytes.empty() ? "it ended" : answer->bytes;
  const int tree = answer->fds[0].get();
  if (::syscall(SYS_move_mount, tree, "", AT_FDCWD, at.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0)
    return Why("move_mount");
  return "";
}

bool WriteText(const char* path, const std::string& text) {
  UniqueFd fd(::open(path, O_WRONLY | O_CLOEXEC));
  return fd && ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

bool DropCapabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};
  return ::syscall(SYS_capset, &header, none) == 0;
}

// In a user namespace of one id, of whose capabilities none is left: what is done there from then
// on is done with the rights of the job outside.
std::string MountAsOrdinaryUser(const std::string& options, const std::string& at) {
  const std::string uid = std::to_string(::geteuid());
  const std::string gid = std::to_string(::getegid());
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return Why("namespaces");
  if (!WriteText("/proc/self/setgroups", "deny") ||
      !WriteText("/proc/self/uid_map", uid + " " + uid + " 1") ||
      !WriteText("/proc/self/gid_map", gid + " " + gid + " 1"))
    return Why("id maps");
  if (std::string error = MountLayers(options, at); !error.empty()) return error;
  return DropCapabilities() ? "" : Why("capset");
}

std::string TryOverlay(Mounter mounter) {
  TempDir dir;
  for (const char* name : {"lower", "upper", "work", "at"}) {
    const std::string made = dir.Sub(name);
    if (::geteuid() == 0 && ::chown(made.c_str(), kJobUid, kJobUid) != 0) return Why("chown");
  }
  auto mounted = [&] {
    return OverlayMount(dir.path() + "/lower", dir.path() + "/upper", dir.path() + "/work",
                        dir.path() + "/at", mounter)
        .error();
  };
  if (mounter != Mounter::kOrdinaryUser) return mounted();
  Pipe said = MakePipe().value();
  InChild([&] {
    const std::string why =
        ::geteuid() != 0 || BecomeJob() ? mounted() : Why("becoming an ordinary user");
    return ::write(said.write_end.get(), why.data(), why.size()) >= 0;
  });
  said.write_end.reset();
  return ReadAll(said.read_end.get(), 4096).value_or("it cannot be tried");
}

}  // namespace

std::string WhyNoOverlay(Mounter mounter) {
  static std::map<Mounter, std::string> known;
  auto [at, unknown] = known.try_emplace(mounter);
  if (!unknown) return at->second;
  if (mounter != Mounter::kOrdinaryUser && ::geteuid() != 0) {
    at->second = "mounting for another uid needs root";
  } else if (mounter != Mounter::kOrdinaryUser && !OwnMounts()) {
    at->second = "no mount namespace of its own";
  } else {
    at->second = TryOverlay(mounter);
  }
  return at->second;
}

OverlayMount::OverlayMount(const std::string& lower, const std::string& upper,
                           const std::string& work, const std::string& at, Mounter mounter)
    : at_(at) {
  fs::create_directories(at_);
  const std::string options = ",upperdir=" + upper + ",workdir=" + work +
                              ",redirect_dir=nofollow,metacopy=off,index=off,xino=off" +
                              (mounter == Mounter::kRoot ? "" : ",userxattr");
  if (mounter == Mounter::kOrdinaryUser) {
    error_ = MountAsOrdinaryUser("lowerdir=" + lower + options, at_);
    return;
  }
  idmapped_ = work + "-lower";
  fs::create_directories(idmapped_);
  const UniqueFd space = NamespaceFor(kJobUid);
  error_ = space ? BindIdmapped(lower, idmapped_, space) : Why("user namespace");
  if (!error_.empty()) return;
  error_ = mounter == Mounter::kRoot
               ? MountLayers("lowerdir=" + idmapped_ + options, at_)
               : MountFromWithin(space, "lowerdir=" + idmapped_ + options, at_);
}

OverlayMount::~OverlayMount() {
  if (idmapped_.empty()) return;
  (void)::umount2(at_.c_str(), MNT_DETACH);
  (void)::umount2(idmapped_.c_str(), MNT_DETACH);
}

bool BecomeJob() {
  return ::setgroups(0, nullptr) == 0 && ::setresgid(kJobUid, kJobUid, kJobUid) == 0 &&
         ::setresuid(kJobUid, kJobUid, kJobUid) == 0 &&
         ::prctl(PR_SET_DUMPABLE, 1) == 0;  // for /proc/self
}

AsJob::AsJob() : root_(::geteuid() == 0) {
  if (!root_) return;
  EXPECT_EQ(::setegid(kJobUid), 0);
  EXPECT_EQ(::seteuid(kJobUid), 0);
}

AsJob::~AsJob() {
  if (!root_) return;
  EXPECT_EQ(::seteuid(0), 0);
  EXPECT_EQ(::setegid(0), 0);
}

OverlayPlace::OverlayPlace(const std::string& root_path, const std::string& caches,
                           CheckoutCacheLimits limits, Mounter mounts)
    : root(root_path), view(root_path + "/view"), mounter(mounts) {
  for (const char* name : {"/upper", "/work", "/trusted", "/view"})
    fs::create_directories(root + name);
  if (mounter != Mounter::kOrdinaryUser) owner = JobOwner{kJobUid, kJobUid};
  if (mounter == Mounter::kRootInUserNamespace) {
    EXPECT_EQ(::chown((root + "/work").c_str(), kJobUid, kJobUid), 0);
  }
  upper_fd = OpenDirectory(root + "/upper").value();
  trusted_fd = OpenDirectory(root + "/trusted").value();
  objects = ObjectCache::Open(caches + "/objects").value();
  checkouts = CheckoutCache::Open(caches + "/checkouts", limits).value();
}

Result<Materialized> OverlayPlace::Materialize(const protocol::Manifest& manifest,
                                               const BlobFolder& blobs) {
  return workspace::Materialize({.manifest = &manifest,
                                 .blobs = blobs.Source(),
                                 .cache = objects.get(),
                                 .target = upper_fd.get(),
                                 .trusted = trusted_fd.get(),
                                 .owner = owner,
                                 .checkouts = checkouts.get(),
                                 .limits = {}});
}

void OverlayPlace::Mount(const Materialized& materialized) {
  mount = std::make_unique<OverlayMount>(materialized.lower_directory(), root + "/upper",
                                         root + "/work", view, mounter);
  EXPECT_EQ(mount->error(), "");
}

Result<Collected> OverlayPlace::Collect(const Materialized& materialized, CollectOptions options) {
  options.materialized = &materialized;
  options.tree = upper_fd.get();
  return workspace::Collect(options);
}

std::map<std::string, std::string> SnapshotWithFolders(const std::string& tree) {
  std::map<std::string, std::string> snapshot = Snapshot(tree);
  for (auto at = fs::recursive_directory_iterator(tree); at != fs::recursive_directory_iterator();
       ++at) {
    std::string path = at->path().string().substr(tree.size() + 1);
    if (path == ".git") {
      at.disable_recursion_pending();
    } else if (at->is_directory() && !at->is_symlink()) {
      snapshot[path] = "folder";
    }
  }
  return snapshot;
}

bool InChild(const std::function<bool()>& work) {
  pid_t child = ::fork();
  if (child == 0) ::_exit(work() ? 0 : 1);
  int status = 0;
  return ::waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace writ::workspace::test
