#include "overlay_harness.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

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

std::string BindIdmapped(const std::string& from, const std::string& to) {
  UniqueFd space = NamespaceFor(kJobUid);
  if (!space) return Why("user namespace");
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

}  // namespace

std::string WhyNoOverlay() {
  static const std::string why = [] {
    if (::geteuid() != 0) return std::string("mounting for another uid needs root");
    if (!OwnMounts()) return std::string("no mount namespace of its own");
    TempDir dir;
    for (const char* name : {"lower", "upper", "work", "at"}) dir.Sub(name);
    OverlayMount mount(dir.path() + "/lower", dir.path() + "/upper", dir.path() + "/work",
                       dir.path() + "/at");
    return mount.error();
  }();
  return why;
}

OverlayMount::OverlayMount(const std::string& lower, const std::string& upper,
                           const std::string& work, const std::string& at,
                           const std::string& more_options)
    : at_(at), idmapped_(work + "-lower") {
  fs::create_directories(idmapped_);
  fs::create_directories(at_);
  error_ = BindIdmapped(lower, idmapped_);
  if (!error_.empty()) return;
  std::string options = "lowerdir=" + idmapped_ + ",upperdir=" + upper + ",workdir=" + work +
                        ",redirect_dir=nofollow,metacopy=off,index=off,xino=off" + more_options;
  if (::mount("overlay", at_.c_str(), "overlay", MS_NOSUID | MS_NODEV, options.c_str()) != 0)
    error_ = Why("mount");
}

OverlayMount::~OverlayMount() {
  (void)::umount2(at_.c_str(), MNT_DETACH);
  (void)::umount2(idmapped_.c_str(), MNT_DETACH);
}

AsJob::AsJob() {
  EXPECT_EQ(::setegid(kJobUid), 0);
  EXPECT_EQ(::seteuid(kJobUid), 0);
}

AsJob::~AsJob() {
  EXPECT_EQ(::seteuid(0), 0);
  EXPECT_EQ(::setegid(0), 0);
}

OverlayPlace::OverlayPlace(const std::string& root_path, const std::string& caches,
                           CheckoutCacheLimits limits)
    : root(root_path), view(root_path + "/view") {
  for (const char* name : {"/upper", "/work", "/trusted", "/view"})
    fs::create_directories(root + name);
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
                                         root + "/work", view);
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
