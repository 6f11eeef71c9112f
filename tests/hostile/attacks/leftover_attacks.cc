// What stays when the job is over, or keeps the host from removing what was its. They end well
// where they could do it; whether it is gone afterwards is the test's to see.
#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "attack.h"

namespace writ::hostile {
namespace {

int Make(const char* path) {
  return ::open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
}

// A process that nobody waits for, in a session of its own, deaf, under the name that the test
// looks for. `act` goes on until it is ended; half a minute at most.
Result Daemon(void (*act)(), unsigned long sibling = 0) {
  const auto child =
      static_cast<pid_t>(::syscall(SYS_clone, sibling | SIGCHLD, nullptr, nullptr, nullptr, 0));
  if (child < 0) return Result::kCannotTry;
  if (child > 0) {
    char ready[64];
    // Once it has its name the file is there: what the test sees is never a half-made daemon.
    for (int i = 0; i < 5000 && ::readlink("outliving", ready, sizeof ready) < 0; ++i)
      ::usleep(1000);
    return Result::kGotThrough;
  }
  ::setsid();
  if (sibling == 0 && ::fork() != 0) ::_exit(0);
  for (int signal = 1; signal < 32; ++signal) ::signal(signal, SIG_IGN);
  for (int fd : {0, 1, 2}) ::close(fd);
  ::prctl(PR_SET_NAME, Target("MARK").c_str());
  if (::symlink("yes", "outliving") != 0) ::_exit(1);
  for (int i = 0; i < 3000; ++i) {
    if (act != nullptr) act();
    ::usleep(10'000);
  }
  ::_exit(0);
}

Result Outlive() {
  return Daemon(nullptr);
}
// Not our child but our parent's: no descendant of the job's first process.
Result OutliveAsSibling() {
  return Daemon(nullptr, CLONE_PARENT);
}
// Files come while the tree is being removed.
Result OutliveWriting() {
  return Daemon([] {
    static int number = 0;
    const std::string name = "file-" + std::to_string(number++);
    ::close(Make(name.c_str()));
  });
}

Result OddModes() {
  const bool made = ::mkdir("shut", 0700) == 0 && ::mkdir("shut/inner", 0700) == 0 &&
                    Make("shut/inner/file") >= 0 && ::chmod("shut/inner/file", 0) == 0 &&
                    ::chmod("shut/inner", 0) == 0 && ::chmod("shut", 01000) == 0 &&
                    ::mkdir("set", 06777) == 0 && ::chmod("set", 07111) == 0;
  return From(made);
}
Result DeepTree() {
  const int levels = TargetNumber("LEVELS");
  for (int depth = 0; depth < levels; ++depth) {
    if (::mkdir("deep", 0700) != 0 || ::chdir("deep") != 0) return Result::kRefused;
  }
  return From(Make("bottom") >= 0 && ::chmod(".", 0500) == 0);
}
Result OddNames() {
  const std::string longest(255, 'n');
  bool made = true;
  for (const std::string& name :
       {longest, std::string("new\nline"), std::string("\xff\xfe"), std::string("-rf"),
        std::string("*"), std::string("..."), std::string(" "), std::string("\x1b[2J")})
    made = made && Make(name.c_str()) >= 0;
  return From(made);
}
Result SpecialFiles() {
  const bool made = ::mkfifo("fifo", 0600) == 0 && ::mknod("socket", S_IFSOCK | 0600, 0) == 0 &&
                    ::symlink("/", "root") == 0 && ::symlink("loop", "loop") == 0 &&
                    ::mkdir("dir", 0700) == 0 && ::symlink("..", "dir/up") == 0;
  return From(made);
}
Result SetsFlags(int flags) {
  const int fd = Make("flagged");
  int now = 0;
  if (fd < 0) return Result::kCannotTry;
  if (::ioctl(fd, FS_IOC_GETFLAGS, &now) != 0)
    return Target("GUARDED").empty() ? Result::kCannotTry : Result::kRefused;
  now |= flags;
  return From(::ioctl(fd, FS_IOC_SETFLAGS, &now) == 0);
}
Result Immutable() {
  return SetsFlags(FS_IMMUTABLE_FL);
}
Result AppendOnly() {
  return SetsFlags(FS_APPEND_FL);
}
Result MountInTree() {
  if (::mkdir("mounted", 0700) != 0) return Result::kRefused;
  return From(::mount("none", "mounted", "tmpfs", 0, nullptr) == 0);
}
// What an overlay would take for its own marks.
Result OverlayMarks() {
  if (::mkdir("marked", 0700) != 0) return Result::kRefused;
  return From(::setxattr("marked", "user.overlay.opaque", "y", 1, 0) == 0);
}
// A whole set of names for one file, one of them shut away.
Result ManyLinks() {
  ::close(Make("name"));
  if (::mkdir("links", 0700) != 0) return Result::kRefused;
  for (int i = 0; i < 500; ++i) {
    if (::link("name", ("links/" + std::to_string(i)).c_str()) != 0) return Result::kRefused;
  }
  return From(::chmod("links", 0) == 0);
}

}  // namespace

const std::vector<Attack>& LeftoverAttacks() {
  static const std::vector<Attack> attacks = {
      {"outlive", Outlive},
      {"outlive-as-sibling", OutliveAsSibling},
      {"outlive-writing", OutliveWriting},
      {"leave-odd-modes", OddModes},
      {"leave-deep-tree", DeepTree},
      {"leave-odd-names", OddNames},
      {"leave-special-files", SpecialFiles},
      {"leave-immutable", Immutable},
      {"leave-append-only", AppendOnly},
      {"leave-mount", MountInTree},
      {"leave-overlay-marks", OverlayMarks},
      {"leave-many-links", ManyLinks},
  };
  return attacks;
}

}  // namespace writ::hostile
