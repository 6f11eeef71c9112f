// Other processes of the same uid: VICTIM is a pid, or "parent" for the supervisor.
#include <fcntl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "attack.h"

namespace writ::hostile {
namespace {

std::string Proc(const char* file) {
  return "/proc/" + std::to_string(Victim()) + "/" + file;
}
Result Opens(const std::string& path, int flags) {
  return From(::open(path.c_str(), flags) >= 0);
}

Result Signal() {
  return From(::kill(Victim(), SIGWINCH) == 0);
}
Result SignalByPidfd() {
  auto pidfd = static_cast<int>(::syscall(SYS_pidfd_open, Victim(), 0));
  if (pidfd < 0) return Result::kRefused;
  return From(::syscall(SYS_pidfd_send_signal, pidfd, SIGWINCH, nullptr, 0) == 0);
}
Result Ptrace() {
  if (::ptrace(PTRACE_SEIZE, Victim(), nullptr, nullptr) != 0) return Result::kRefused;
  return Result::kGotThrough;
}
Result Environ() {
  int fd = ::open(Proc("environ").c_str(), O_RDONLY);
  char byte = 0;
  return From(fd >= 0 && ::read(fd, &byte, 1) >= 0);
}
Result Memory() {
  return Opens(Proc("mem"), O_RDWR);
}
Result Maps() {
  return Opens(Proc("maps"), O_RDONLY);
}
// Their numbers can be listed by the same uid; what they are and the files behind them cannot be
// had.
Result Descriptors() {
  char text[256];
  return From(::readlink(Proc("fd/0").c_str(), text, sizeof text) > 0 ||
              ::open(Proc("fd/0").c_str(), O_RDONLY) >= 0);
}
Result RootOfProcess() {
  return Opens(Proc("root/etc/passwd"), O_RDONLY);
}
Result TakeDescriptor() {
  auto pidfd = static_cast<int>(::syscall(SYS_pidfd_open, Victim(), 0));
  if (pidfd < 0) return Result::kRefused;
  return From(::syscall(SYS_pidfd_getfd, pidfd, 0, 0) >= 0);
}
Result ReadMemory() {
  FILE* maps = std::fopen(Proc("maps").c_str(), "r");
  if (maps == nullptr) return Result::kRefused;
  unsigned long start = 0;
  if (std::fscanf(maps, "%lx", &start) != 1) return Result::kCannotTry;
  char byte = 0;
  iovec local{&byte, 1};
  iovec remote{reinterpret_cast<void*>(start), 1};  // NOLINT: an address of the victim
  return From(::process_vm_readv(Victim(), &local, 1, &remote, 1, 0) == 1);
}
Result WriteMemory() {
  FILE* maps = std::fopen(Proc("maps").c_str(), "r");
  if (maps == nullptr) return Result::kRefused;
  unsigned long start = 0;
  if (std::fscanf(maps, "%lx", &start) != 1) return Result::kCannotTry;
  char byte = 0;
  iovec local{&byte, 1};
  iovec remote{reinterpret_cast<void*>(start), 1};  // NOLINT: read-only there, so EFAULT
  return Reached(::process_vm_writev(Victim(), &local, 1, &remote, 1, 0));
}
Result WorkingDirectoryOf() {
  return Opens(Proc("cwd"), O_RDONLY | O_DIRECTORY);
}
Result CommandLine() {
  int fd = ::open(Proc("cmdline").c_str(), O_RDONLY);
  char byte = 0;
  return From(fd >= 0 && ::read(fd, &byte, 1) == 1);
}
Result NamespaceOfVictim() {
  return Opens(Proc("ns/user"), O_RDONLY);
}
// The call says well done where it reached nobody at all; the bystander keeps what came (main.cc).
Result SignalAll() {
  ::kill(-1, SIGWINCH);
  FILE* status = std::fopen(Proc("status").c_str(), "r");
  if (status == nullptr) return Result::kRefused;
  char line[256];
  unsigned long long pending = 0;
  while (std::fgets(line, sizeof line, status) != nullptr) {
    if (std::sscanf(line, "ShdPnd: %llx", &pending) == 1) break;
  }
  return From((pending >> (SIGWINCH - 1) & 1) != 0);
}
// A signal that the kernel sends in our name, when there is something to read.
Result SignalByOwner() {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) return Result::kCannotTry;
  if (::fcntl(pair[0], F_SETOWN, Victim()) != 0) return Result::kRefused;
  ::fcntl(pair[0], F_SETFL, O_ASYNC | O_NONBLOCK);
  if (::write(pair[1], "x", 1) != 1) return Result::kCannotTry;
  for (int i = 0; i < 100; ++i) {
    if (::kill(Victim(), 0) != 0 && errno == ESRCH) return Result::kGotThrough;  // SIGIO ends it
    std::string path = Proc("stat");
    FILE* file = std::fopen(path.c_str(), "r");
    char state = 0;
    if (file != nullptr && std::fscanf(file, "%*d %*s %c", &state) == 1 && state == 'Z')
      return Result::kGotThrough;
    if (file != nullptr) std::fclose(file);
    ::usleep(1000);
  }
  return Result::kRefused;
}
Result OthersLimits() {
  // Changing another process's limits would let a job starve its supervisor.
  std::uint64_t limit[2] = {64, 64};
  return From(::syscall(SYS_prlimit64, Victim(), 7 /* RLIMIT_NOFILE */, nullptr, limit) == 0 &&
              ::syscall(SYS_prlimit64, Victim(), 7, limit, nullptr) == 0);
}

// Runs the set-uid copy of this program that the test installed.
Result SetUidProgram() {
  const std::string program = Target("SETUID_PROGRAM");
  if (program.empty()) return Result::kCannotTry;
  ::execl(program.c_str(), program.c_str(), "--effective-root", nullptr);
  return Result::kRefused;
}
Result RegainRoot() {
  return From(::setresuid(0, 0, 0) == 0 || ::setuid(0) == 0 || ::setgid(0) == 0);
}

}  // namespace

const std::vector<Attack>& ProcessAttacks() {
  static const std::vector<Attack> attacks = {
      {"signal", Signal},
      {"signal-pidfd", SignalByPidfd},
      {"ptrace", Ptrace},
      {"proc-environ", Environ},
      {"proc-mem", Memory},
      {"proc-maps", Maps},
      {"proc-fd", Descriptors},
      {"proc-root", RootOfProcess},
      {"pidfd-getfd", TakeDescriptor},
      {"process-vm-readv", ReadMemory},
      {"process-vm-writev", WriteMemory},
      {"proc-cwd", WorkingDirectoryOf},
      {"proc-cmdline", CommandLine},
      {"proc-namespace", NamespaceOfVictim},
      {"signal-all", SignalAll},
      {"signal-by-owner", SignalByOwner},
      {"prlimit", OthersLimits},
      {"setuid-program", SetUidProgram},
      {"regain-root", RegainRoot},
  };
  return attacks;
}

}  // namespace writ::hostile
