// The kernel's larger surfaces, and things that outlive a job.
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <mqueue.h>
#include <sched.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "attack.h"

namespace writ::hostile {
namespace {

Result UserNamespace() {
  return From(::unshare(CLONE_NEWUSER) == 0);
}

Result CloneNamespace() {
  long pid = ::syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, nullptr, nullptr, nullptr, 0);
  if (pid == 0) ::_exit(0);
  if (pid < 0) return Result::kRefused;
  ::waitpid(static_cast<pid_t>(pid), nullptr, 0);
  return Result::kGotThrough;
}

Result Clone3Namespace() {
  std::uint64_t arguments[8] = {};
  arguments[0] = CLONE_NEWUSER;
  arguments[4] = SIGCHLD;
  long pid = ::syscall(435 /* clone3 */, arguments, sizeof arguments);
  if (pid == 0) ::_exit(0);
  if (pid < 0) return Result::kRefused;
  ::waitpid(static_cast<pid_t>(pid), nullptr, 0);
  return Result::kGotThrough;
}

Result UserFaultFd() {
  return From(::syscall(SYS_userfaultfd, 1 /* UFFD_USER_MODE_ONLY */) >= 0);
}
Result AddKey() {
  return From(::syscall(SYS_add_key, "user", "writ-hostile", "x", 1, -3 /* session */) >= 0);
}

Result SharedMemory() {
  int id = ::shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
  if (id < 0) return Result::kRefused;
  ::shmctl(id, IPC_RMID, nullptr);
  return Result::kGotThrough;
}
Result Semaphore() {
  int id = ::semget(IPC_PRIVATE, 1, IPC_CREAT | 0600);
  if (id < 0) return Result::kRefused;
  ::semctl(id, 0, IPC_RMID);
  return Result::kGotThrough;
}
Result MessageQueue() {
  int id = ::msgget(IPC_PRIVATE, IPC_CREAT | 0600);
  if (id < 0) return Result::kRefused;
  ::msgctl(id, IPC_RMID, nullptr);
  return Result::kGotThrough;
}
Result PosixQueue() {
  const std::string name = "/writ-hostile-" + std::to_string(::getpid());
  mqd_t queue = ::mq_open(name.c_str(), O_CREAT | O_RDWR, 0600, nullptr);
  if (queue >= 0) ::mq_unlink(name.c_str());
  return From(queue >= 0);  // ENOSYS is what the filter answers
}

Result KernelCompare() {
  return From(::syscall(SYS_kcmp, ::getpid(), ::getpid(), 0, 0, 0) >= 0);
}

Result NameToHandle() {
  struct {
    std::uint32_t bytes = 128;
    std::int32_t type = 0;
    unsigned char handle[128] = {};
  } handle;
  int mount = 0;
  return From(::syscall(SYS_name_to_handle_at, AT_FDCWD, "/", &handle, &mount, 0) == 0);
}

// A call that the filter's table does not know: nothing new of the kernel is reached unseen.
Result UnknownSystemCall() {
  if (::syscall(451 /* cachestat, 6.5 */, -1, nullptr, nullptr, 0) >= 0 || errno != ENOSYS)
    return Result::kGotThrough;
  return Target("GUARDED").empty() ? Result::kCannotTry : Result::kRefused;
}

#if defined(__x86_64__)
// The 32-bit interface has other numbers, which a filter for 64 bits would misread.
Result Int80() {
  std::signal(SIGSEGV, [](int) { ::_exit(static_cast<int>(Result::kCannotTry)); });
  long result = 0;
  asm volatile("int $0x80"
               : "=a"(result)
               : "a"(20 /* getpid */)
               : "memory", "r8", "r9", "r10", "r11");
  return From(result == ::getpid());
}
Result X32() {
  long result = ::syscall(0x40000000 | SYS_getpid);
  return From(result == ::getpid());
}
#else
Result Int80() {
  return Result::kCannotTry;
}
Result X32() {
  return Result::kCannotTry;
}
#endif

}  // namespace

const std::vector<Attack>& KernelAttacks() {
  static const std::vector<Attack> attacks = {
      {"user-namespace", UserNamespace},
      {"clone-namespace", CloneNamespace},
      {"clone3-namespace", Clone3Namespace},
      {"userfaultfd", UserFaultFd},
      {"add-key", AddKey},
      {"sysv-shm", SharedMemory},
      {"sysv-sem", Semaphore},
      {"sysv-msg", MessageQueue},
      {"posix-mq", PosixQueue},
      {"kcmp", KernelCompare},
      {"name-to-handle", NameToHandle},
      {"unknown-syscall", UnknownSystemCall},
      {"int80", Int80},
      {"x32", X32},
  };
  return attacks;
}

}  // namespace writ::hostile
