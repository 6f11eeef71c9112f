// System calls whose code in the kernel a job has no need of: reached is through (attack.h). The
// arguments are wrong on purpose where right ones would change the host.
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/fanotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/quota.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "attack.h"

namespace writ::hostile {
namespace {

constexpr char kNowhere[] = "/nonexistent/writ-hostile";

Result Bpf() {
  bpf_attr attr{};
  attr.map_type = BPF_MAP_TYPE_ARRAY;
  attr.key_size = 4;
  attr.value_size = 4;
  attr.max_entries = 1;
  return From(::syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof attr) >= 0);
}
Result PerfEvent() {
  return Reached(::syscall(SYS_perf_event_open, nullptr, 0, -1, -1, 0));
}
Result KeyControl() {
  return Reached(::syscall(SYS_keyctl, 0 /* GET_KEYRING_ID */, -3 /* session */, 0));
}
Result RequestKey() {
  return Reached(::syscall(SYS_request_key, "user", "writ-hostile", nullptr, 0));
}
Result ModifyLdt() {
#if defined(__x86_64__)
  char entry[16];
  return Reached(::syscall(SYS_modify_ldt, 0 /* read */, entry, sizeof entry));
#else
  return Result::kCannotTry;
#endif
}
Result MovePages() {
  return Reached(::syscall(SYS_move_pages, Victim(), 0, nullptr, nullptr, nullptr, 0));
}
Result MigratePages() {
  unsigned long nodes = 1;
  return Reached(::syscall(SYS_migrate_pages, Victim(), 2, &nodes, &nodes));
}
Result Accounting() {
  return Reached(::acct(kNowhere));
}
Result SwapOn() {
  return Reached(::syscall(SYS_swapon, kNowhere, 0));
}
Result Quota() {
  return Reached(::quotactl(QCMD(Q_SYNC, 0), nullptr, 0, nullptr));
}
Result KernelLog() {
  return Reached(::syscall(SYS_syslog, 10 /* size of the buffer */, nullptr, 0));
}
Result SetTime() {
  const timeval impossible{0, -1};
  return Reached(::syscall(SYS_settimeofday, &impossible, nullptr));
}
Result Reboot() {
  return Reached(::syscall(SYS_reboot, 0, 0, 0, nullptr));  // no magic: the kernel does nothing
}
Result KexecLoad() {
  return Reached(::syscall(SYS_kexec_load, 0, 1u << 20, nullptr, ~0ul));
}
Result InitModule() {
  return Reached(::syscall(SYS_init_module, "x", 1, ""));
}
Result WatchByFanotify() {
  const int fd = ::fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_FID, O_RDONLY);
  return From(fd >= 0);
}
Result NewPersonality() {
  return From(::personality(ADDR_NO_RANDOMIZE) != -1);
}
// Into the group of whoever is in none: away from every limit.
Result IntoCgroup() {
  int group = -1;
  for (const char* root : {"/sys/fs/cgroup/unified", "/sys/fs/cgroup"}) {
    if (::access((std::string(root) + "/cgroup.controllers").c_str(), F_OK) == 0 && group < 0)
      group = ::open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
  }
  if (group < 0 && Target("GUARDED").empty()) return Result::kCannotTry;
  clone_args args{};
  args.flags = CLONE_INTO_CGROUP;
  args.exit_signal = SIGCHLD;
  args.cgroup = static_cast<std::uint64_t>(group);
  const long pid = ::syscall(SYS_clone3, &args, sizeof args);
  if (pid == 0) ::_exit(0);
  if (pid < 0) return Result::kRefused;
  ::waitpid(static_cast<pid_t>(pid), nullptr, 0);
  return Result::kGotThrough;
}

// Input for whoever reads the terminal next. The request is an int: what stands above it in the
// register is the kernel's to ignore and a filter's to see.
Result TerminalRequest(std::uint64_t request) {
  const int terminal = ::posix_openpt(O_RDWR | O_NOCTTY);
  char byte = 'x';
  if (terminal < 0 || ::grantpt(terminal) != 0 || ::unlockpt(terminal) != 0)
    return Reached(::syscall(SYS_ioctl, 1, request, &byte));  // no terminal: any file will do
  const pid_t pid = ::fork();
  if (pid == 0) {  // with that terminal as its own
    ::setsid();
    const int own = ::open(::ptsname(terminal), O_RDWR | O_CLOEXEC);
    ::_exit(static_cast<int>(Reached(::syscall(SYS_ioctl, own, request, &byte))));
  }
  int status = 0;
  if (pid < 0 || ::waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) return Result::kCannotTry;
  return static_cast<Result>(WEXITSTATUS(status));
}
Result PushInput() {
  return TerminalRequest(TIOCSTI);
}
Result PushInputHighBits() {
  return TerminalRequest((1ull << 32) | TIOCSTI);
}
Result ConsoleRequest() {
  return TerminalRequest(TIOCLINUX);
}

// Memory of the job, secrets included, in a file of the host's choosing.
Result CoreDump() {
  rlimit limit{};
  ::getrlimit(RLIMIT_CORE, &limit);
  if (limit.rlim_max == 0 && Target("GUARDED").empty()) return Result::kCannotTry;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_CORE, &limit);
  const pid_t pid = ::fork();
  if (pid == 0) std::abort();
  int status = 0;
  if (pid < 0 || ::waitpid(pid, &status, 0) != pid) return Result::kCannotTry;
  ::unlink("core");
  return From(WCOREDUMP(status));
}

// A program that is in no directory: whoever watches files sees none.
Result MemoryProgram() {
  const int from = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  const int to = ::memfd_create("program", MFD_CLOEXEC);
  if (from < 0 || to < 0) return Result::kRefused;
  char piece[65536];
  for (ssize_t got; (got = ::read(from, piece, sizeof piece)) > 0;) {
    if (::write(to, piece, static_cast<std::size_t>(got)) != got) return Result::kRefused;
  }
  char name[] = "hostile";
  char list[] = "--list";
  char* argv[] = {name, list, nullptr};
  const int null = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  ::dup2(null, 1);
  ::fexecve(to, argv, environ);
  return Result::kRefused;
}

}  // namespace

const std::vector<Attack>& SurfaceAttacks() {
  static const std::vector<Attack> attacks = {
      {"bpf", Bpf},
      {"perf-event", PerfEvent},
      {"keyctl", KeyControl},
      {"request-key", RequestKey},
      {"modify-ldt", ModifyLdt},
      {"move-pages", MovePages},
      {"migrate-pages", MigratePages},
      {"acct", Accounting},
      {"swapon", SwapOn},
      {"quotactl", Quota},
      {"kernel-log", KernelLog},
      {"settimeofday", SetTime},
      {"reboot", Reboot},
      {"kexec-load", KexecLoad},
      {"init-module", InitModule},
      {"fanotify", WatchByFanotify},
      {"personality", NewPersonality},
      {"into-cgroup", IntoCgroup},
      {"tiocsti", PushInput},
      {"tiocsti-high-bits", PushInputHighBits},
      {"tioclinux", ConsoleRequest},
      {"core-dump", CoreDump},
      {"memory-program", MemoryProgram},
  };
  return attacks;
}

}  // namespace writ::hostile
