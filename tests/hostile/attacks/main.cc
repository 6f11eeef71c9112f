// hostile [--as UID GID | --as-root-of-a-guest] [--keep CAPABILITY | --in-namespace] ATTACK: tries
// one attack; exit 0 it got through, 1 refused, 2 cannot be tried here, 4 left waiting. `hostile
// --list` names them all, and `--host-paths ATTACK` the files of the host that this one goes for.
// With --as (root only) the identity is dropped first: an attack never runs as root, but for
// --as-root-of-a-guest, which works in a machine of the microvm tier alone. The other two are ways
// to run it with its guard off: with one capability (by number) kept, or as the owner of namespaces
// of its own, with a file system in memory over /tmp.
// With --each ATTACK is a file of names, a line each, as in the table (each.h).
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "attack.h"
#include "each.h"

namespace writ::hostile {

std::string Target(const char* variable) {
  const char* value = std::getenv(variable);
  return value == nullptr ? "" : value;
}
int TargetNumber(const char* variable) {
  return std::atoi(Target(variable).c_str());
}
pid_t Victim() {
  return Target("VICTIM") == "parent" ? ::getppid() : static_cast<pid_t>(TargetNumber("VICTIM"));
}
sockaddr_in Ipv4(const char* address, int port) {
  sockaddr_in out{};
  out.sin_family = AF_INET;
  ::inet_pton(AF_INET, address, &out.sin_addr);
  out.sin_port = htons(static_cast<std::uint16_t>(port));
  return out;
}
Result From(bool got_through) {
  return got_through ? Result::kGotThrough : Result::kRefused;
}
Result Reached(long result) {
  if (result >= 0) return Result::kGotThrough;
  if (errno == ENOSYS && Target("GUARDED").empty()) return Result::kCannotTry;
  return From(errno != EPERM && errno != EACCES && errno != ENOSYS);
}
namespace {
bool list_host_paths = false;
}  // namespace

void ListHostPaths() {
  list_host_paths = true;
}

std::string HostPath(const std::string& path) {
  if (list_host_paths) {
    std::puts(path.c_str());
    return "";
  }
  const std::string root = Target("HOST_ROOT");
  if (root.empty()) return path;
  for (std::size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1))
    (void)::mkdir((root + path.substr(0, at)).c_str(), 0700);
  const int fd = ::open((root + path).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd >= 0) ::close(fd);
  return root + path;
}

namespace {

bool Write(const char* path, const std::string& text) {
  const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
  const bool written =
      fd >= 0 && ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  if (fd >= 0) ::close(fd);
  return written;
}

}  // namespace

bool UnshareAsRoot(int flags) {
  const std::string uid = std::to_string(::getuid());
  const std::string gid = std::to_string(::getgid());
  return ::unshare(CLONE_NEWUSER | flags) == 0 && Write("/proc/self/setgroups", "deny") &&
         Write("/proc/self/gid_map", "0 " + gid + " 1") &&
         Write("/proc/self/uid_map", "0 " + uid + " 1") &&
         ((flags & CLONE_NEWNS) == 0 ||
          ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
}

namespace {

bool DropTo(uid_t uid, gid_t gid, int kept) {
  if (kept >= 0 && ::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) return false;
  return ::setgroups(0, nullptr) == 0 && ::setresgid(gid, gid, gid) == 0 &&
         ::setresuid(uid, uid, uid) == 0 && ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0;
}

bool HoldOnly(int capability) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  auto& word = data[CAP_TO_INDEX(capability)];
  word.permitted = word.effective = CAP_TO_MASK(static_cast<unsigned>(capability));
  return ::syscall(SYS_capset, &header, data) == 0;
}

bool EnterOwnNamespaces() {
  return UnshareAsRoot(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC) &&
         ::mount("none", "/tmp", "tmpfs", 0, nullptr) == 0 && ::mkdir("/tmp/a", 0700) == 0;
}

const std::vector<const std::vector<Attack>*>& AllLists() {
  static const std::vector<const std::vector<Attack>*> lists = {
      &NetworkAttacks(),    &SocketAttacks(), &ServiceAttacks(), &ProcessAttacks(),
      &SchedulingAttacks(), &KernelAttacks(), &SurfaceAttacks(), &MountAttacks(),
      &FileAttacks(),       &HostAttacks(),   &LeftoverAttacks()};
  return lists;
}

// A process to be hit: it keeps SIGWINCH pending, and goes when nobody wants it any more.
int StandBy() {
  sigset_t kept;
  sigemptyset(&kept);
  sigaddset(&kept, SIGWINCH);
  ::sigprocmask(SIG_BLOCK, &kept, nullptr);
  ::prctl(PR_SET_NAME, "bystander");
  ::sleep(300);
  return 0;
}

// By the port of its agent, which no host has.
bool IsGuest() {
  DIR* ports = ::opendir("/sys/class/virtio-ports");
  if (ports == nullptr) return false;
  bool found = false;
  while (const dirent* port = ::readdir(ports)) {
    const std::string path = std::string("/sys/class/virtio-ports/") + port->d_name + "/name";
    char name[16] = {};
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    found |= ::read(fd, name, sizeof name - 1) > 0 && std::strcmp(name, "writ.agent\n") == 0;
    ::close(fd);
  }
  ::closedir(ports);
  return found;
}

int Run(std::string_view name) {
  for (const auto* list : AllLists()) {
    for (const Attack& attack : *list) {
      if (attack.name != name) continue;
      const Result result = attack.run();
      return static_cast<int>(result == Result::kRefused && LeftWaiting() ? Result::kUnanswered
                                                                          : result);
    }
  }
  return 3;
}

}  // namespace
}  // namespace writ::hostile

int main(int argc, char** argv) {
  using namespace writ::hostile;
  constexpr int kCannotTry = static_cast<int>(Result::kCannotTry);
  if (argc == 2 && std::strcmp(argv[1], "--list") == 0) {
    for (const auto* list : AllLists()) {
      for (const Attack& attack : *list)
        std::printf("%.*s\n", static_cast<int>(attack.name.size()), attack.name.data());
    }
    return 0;
  }
  if (argc == 2 && std::strcmp(argv[1], "--effective-root") == 0)  // what setuid-program starts
    return ::geteuid() == 0 ? 0 : 1;
  int kept = -1;
  bool drop = false;
  bool in_namespace = false;
  bool of_a_guest = false;
  bool each = false;
  uid_t uid = 0;
  gid_t gid = 0;
  int at = 1;
  for (; at < argc - 1; ++at) {
    const std::string_view word = argv[at];
    if (word == "--as" && at + 2 < argc) {
      drop = true;
      uid = static_cast<uid_t>(std::strtoul(argv[++at], nullptr, 10));
      gid = static_cast<gid_t>(std::strtoul(argv[++at], nullptr, 10));
    } else if (word == "--keep") {
      kept = std::atoi(argv[++at]);
    } else if (word == "--as-root-of-a-guest") {
      of_a_guest = true;
    } else if (word == "--each") {
      each = true;
    } else if (word == "--in-namespace") {
      in_namespace = true;
    } else if (word == "--host-paths") {
      ListHostPaths();
    } else {
      return 3;
    }
  }
  if (at != argc - 1) return 3;
  if (drop && !DropTo(uid, gid, kept)) return 3;
  const bool as_root = ::getuid() == 0;  // the set-uid copy has another real uid
  if (as_root && !(of_a_guest && IsGuest())) return 3;
  if (kept >= 0 && !HoldOnly(kept)) return kCannotTry;
  if (std::strcmp(argv[at], "--bystander") == 0) return StandBy();
  if (in_namespace && !EnterOwnNamespaces()) return kCannotTry;
  return each ? TryEach(argv[at], Run) : Run(argv[at]);
}
