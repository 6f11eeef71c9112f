#include "writ/backends/linux/user_namespace.h"

#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace writ::backends {

Status ProbeUserNamespace() {
  // The child is born in the namespace and leaves it as its first and only act, so that it does not
  // matter which locks other threads hold.
  const long pid =
      ::syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, nullptr, nullptr, nullptr, nullptr);
  if (pid == 0) ::_exit(0);
  if (pid < 0) {
    Error error = SysError(errno, "userns.refused", "a user namespace cannot be made");
    error.kind = ErrorKind::kDenied;
    return error;
  }
  int status = 0;
  while (::waitpid(static_cast<pid_t>(pid), &status, 0) < 0 && errno == EINTR) {
  }
  return {};
}

}  // namespace writ::backends
