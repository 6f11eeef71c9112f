#include "writ/backends/linux/pidfd.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <string>

#include "writ/backends/linux/kernel_constants.h"
#include "writ/base/file.h"

namespace writ::backends {
namespace {

Result<pid_t> ProcessOfThread(pid_t tid) {
  WRIT_ASSIGN(std::string status, ReadFile("/proc/" + std::to_string(tid) + "/status", 64 * 1024));
  auto at = status.find("\nTgid:");
  if (at == std::string::npos)
    return Error{ErrorKind::kInternal, "linux.no_tgid", "a thread has no process id"};
  return static_cast<pid_t>(std::strtol(status.c_str() + at + 6, nullptr, 10));
}

}  // namespace

Result<UniqueFd> OpenPidfd(pid_t pid) {
  UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!fd) return SysError(errno, "linux.pidfd_open", "cannot open a process");
  return fd;
}

Result<UniqueFd> OpenPidfdOfThread(pid_t tid) {
  UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, tid, kernel::kPidfdThread)));
  if (fd) return fd;
  if (errno != EINVAL) return SysError(errno, "linux.pidfd_open", "cannot open a thread");
  WRIT_ASSIGN(pid_t pid, ProcessOfThread(tid));
  return OpenPidfd(pid);
}

Result<UniqueFd> CopyDescriptor(int pidfd, int fd) {
  UniqueFd copy(static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd, fd, 0)));
  if (!copy) return SysError(errno, "linux.pidfd_getfd", "cannot copy a descriptor of the job");
  return copy;
}

int SignalPidfd(int pidfd, int signal) {
  if (::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0) == 0 || errno == ESRCH) return 0;
  return errno;
}

}  // namespace writ::backends
