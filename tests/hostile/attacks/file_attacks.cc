// Files outside of the job's trees. OUTSIDE is a directory that the job's uid owns; KEY_FILE can be
// read by everybody: only the guard, not the mode, stands between.
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "attack.h"

namespace writ::hostile {
namespace {

std::string Outside(const char* name) {
  return Target("OUTSIDE") + "/" + name;
}
Result Opens(const std::string& path, int flags) {
  return From(::open(path.c_str(), flags, 0600) >= 0);
}

Result ReadKey() {
  return Opens(Target("KEY_FILE"), O_RDONLY);
}
Result ReadKeyByHandle() {
  int dir = ::open(Target("OUTSIDE").c_str(), O_PATH | O_DIRECTORY);
  return From(dir >= 0 && ::openat(dir, "../runner.key", O_RDONLY) >= 0);
}
Result ReadKeyThroughLink() {
  if (::symlink(Target("KEY_FILE").c_str(), "innocent.txt") != 0 && errno != EEXIST)
    return Result::kCannotTry;
  return Opens("innocent.txt", O_RDONLY);
}
Result ReadKeyFromWorkingDirectory() {
  if (::chdir(Target("OUTSIDE").c_str()) != 0) return Result::kRefused;
  return Opens("../runner.key", O_RDONLY);
}
Result ListOutside() {
  return Opens(Target("OUTSIDE"), O_RDONLY | O_DIRECTORY);
}
Result WriteOutside() {
  return Opens(Outside("new-file"), O_WRONLY | O_CREAT);
}
Result OverwriteOutside() {
  return Opens(Outside("file"), O_WRONLY | O_TRUNC);
}
Result WriteThroughLink() {
  if (::symlink(Target("OUTSIDE").c_str(), "innocent-dir") != 0 && errno != EEXIST)
    return Result::kCannotTry;
  return Opens("innocent-dir/through-link", O_WRONLY | O_CREAT);
}
Result TruncateOutside() {
  return From(::truncate(Outside("file").c_str(), 0) == 0);
}
Result HardLinkIn() {
  ::unlink("linked");
  return From(::link(Outside("file").c_str(), "linked") == 0);
}
Result MoveIn() {
  return From(::rename(Outside("move-me").c_str(), "moved") == 0);
}
Result MoveOut() {
  int fd = ::open("mine", O_WRONLY | O_CREAT, 0600);
  if (fd < 0) return Result::kCannotTry;
  return From(::rename("mine", Outside("planted").c_str()) == 0);
}
Result RemoveOutside() {
  return From(::unlink(Outside("remove-me").c_str()) == 0);
}
Result MakeDirectoryOutside() {
  return From(::mkdir(Outside("directory").c_str(), 0700) == 0);
}
Result BindSocketOutside() {
  return From(::mknod(Outside("socket").c_str(), S_IFSOCK | 0600, 0) == 0);
}
Result WriteTmp() {
  const std::string path = "/tmp/writ-hostile-" + std::to_string(::getpid());
  if (::open(path.c_str(), O_WRONLY | O_CREAT, 0600) < 0) return Result::kRefused;
  ::unlink(path.c_str());
  return Result::kGotThrough;
}
Result WriteSharedMemoryFile() {
  const std::string path = "/dev/shm/writ-hostile-" + std::to_string(::getpid());
  if (::open(path.c_str(), O_WRONLY | O_CREAT, 0600) < 0)
    return errno == ENOENT ? Result::kCannotTry : Result::kRefused;
  ::unlink(path.c_str());
  return Result::kGotThrough;
}
Result ReadIdentity() {
  return Opens(Target("IDENTITY_FILE"), O_RDONLY);
}
Result ReadJournal() {
  return Opens(Target("JOURNAL_FILE"), O_RDONLY);
}
Result ReadOtherRun() {
  return Opens(Target("OTHER_RUN") + "/file", O_RDONLY);
}
Result WriteOtherRun() {
  return Opens(Target("OTHER_RUN") + "/planted", O_WRONLY | O_CREAT);
}
Result HardLinkOut() {
  if (::open("mine-too", O_WRONLY | O_CREAT | O_CLOEXEC, 0600) < 0) return Result::kCannotTry;
  return From(::link("mine-too", Outside("linked-out").c_str()) == 0);
}
Result ExchangeOutside() {
  if (::open("exchanged", O_WRONLY | O_CREAT | O_CLOEXEC, 0600) < 0) return Result::kCannotTry;
  return From(
      ::renameat2(AT_FDCWD, "exchanged", AT_FDCWD, Outside("file").c_str(), RENAME_EXCHANGE) == 0);
}
Result WriteOutsideByOpenat2() {
  open_how how{};
  how.flags = O_WRONLY | O_CREAT;
  how.mode = 0600;
  return From(::syscall(SYS_openat2, AT_FDCWD, Outside("by-openat2").c_str(), &how, sizeof how) >=
              0);
}
Result TemporaryFileOutside() {
  return Opens(Target("OUTSIDE"), O_TMPFILE | O_RDWR);
}
Result StatOutside() {
  struct stat st {};
  return From(::stat(Outside("file").c_str(), &st) == 0);
}
Result ChangeModeOutside() {
  return From(::chmod(Outside("file").c_str(), 0700) == 0);
}
Result ChangeTimesOutside() {
  return From(::utimes(Outside("file").c_str(), nullptr) == 0);
}
Result AttributeOutside() {
  if (::setxattr(Outside("file").c_str(), "user.writ-hostile", "x", 1, 0) == 0)
    return Result::kGotThrough;
  return errno == EOPNOTSUPP ? Result::kCannotTry : Result::kRefused;
}
Result WatchOutside() {
  return From(::inotify_add_watch(::inotify_init1(IN_CLOEXEC), Target("OUTSIDE").c_str(),
                                  IN_ALL_EVENTS) >= 0);
}
// What is shown to every job, and is the same file for all who see it.
constexpr const char* kSeenFolders[] = {"/usr/bin", "/bin", "/usr"};
constexpr const char* kSeenFiles[] = {"/usr/bin/env", "/bin/sh", "/bin/busybox"};
Result WatchSeen() {
  const int watches = ::inotify_init1(IN_CLOEXEC);
  for (const char* folder : kSeenFolders)
    if (::inotify_add_watch(watches, folder, IN_ALL_EVENTS) >= 0) return Result::kGotThrough;
  return Result::kRefused;
}
Result LockSeen() {
  for (const char* path : kSeenFiles) {
    const int file = ::open(path, O_RDONLY | O_CLOEXEC);
    if (file >= 0) return From(::flock(file, LOCK_EX) == 0);
  }
  return Result::kCannotTry;
}
Result ExecuteOutside() {
  const std::string program = Outside("program");
  ::execl(program.c_str(), program.c_str(), nullptr);
  return Result::kRefused;
}

}  // namespace

const std::vector<Attack>& FileAttacks() {
  static const std::vector<Attack> attacks = {
      {"read-key", ReadKey},
      {"read-key-by-handle", ReadKeyByHandle},
      {"read-key-through-link", ReadKeyThroughLink},
      {"read-key-from-cwd", ReadKeyFromWorkingDirectory},
      {"list-outside", ListOutside},
      {"write-outside", WriteOutside},
      {"overwrite-outside", OverwriteOutside},
      {"write-through-link", WriteThroughLink},
      {"truncate-outside", TruncateOutside},
      {"hard-link-in", HardLinkIn},
      {"move-in", MoveIn},
      {"move-out", MoveOut},
      {"remove-outside", RemoveOutside},
      {"mkdir-outside", MakeDirectoryOutside},
      {"mknod-outside", BindSocketOutside},
      {"write-tmp", WriteTmp},
      {"write-dev-shm", WriteSharedMemoryFile},
      {"execute-outside", ExecuteOutside},
      {"read-identity", ReadIdentity},
      {"read-journal", ReadJournal},
      {"read-other-run", ReadOtherRun},
      {"write-other-run", WriteOtherRun},
      {"hard-link-out", HardLinkOut},
      {"exchange-outside", ExchangeOutside},
      {"openat2-outside", WriteOutsideByOpenat2},
      {"tmpfile-outside", TemporaryFileOutside},
      {"stat-outside", StatOutside},
      {"chmod-outside", ChangeModeOutside},
      {"utimes-outside", ChangeTimesOutside},
      {"setxattr-outside", AttributeOutside},
      {"inotify-outside", WatchOutside},
      {"inotify-seen", WatchSeen},
      {"flock-seen", LockSeen},
  };
  return attacks;
}

}  // namespace writ::hostile
