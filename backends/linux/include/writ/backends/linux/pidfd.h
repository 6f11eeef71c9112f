// pidfd: processes and their descriptors without bare pids.
#pragma once

#include <sys/types.h>

#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends {

Result<UniqueFd> OpenPidfd(pid_t pid);
// Of a thread: its own pidfd from 6.9 on, else its process's.
Result<UniqueFd> OpenPidfdOfThread(pid_t tid);
// A copy (O_CLOEXEC) of descriptor `fd` of that process; needs the right to trace it (5.6).
Result<UniqueFd> CopyDescriptor(int pidfd, int fd);
// 0 or errno; ESRCH is 0.
int SignalPidfd(int pidfd, int signal);

}  // namespace writ::backends
