// ProcessBackend: the `process` tier. A job is a child process held by what the kernel gives
// without privilege: a uid of its own (root runner), Landlock, seccomp, supervised connect,
// rlimits, cgroups where they are writable. `writ-launch` sets it up and stays beside it.
//
// What this tier does not give, whatever the kernel: a view of its own of /proc (host processes'
// command lines can be read), a passwd entry for the uid (needs a mount namespace: USER and HOME
// are set, getpwuid finds nothing), /dev/shm and System V IPC (they would outlive the job and reach
// other jobs), a PTY, listening sockets, and a connection to anything but the session's proxy.
#pragma once

#include <memory>

#include "writ/backends/backend.h"
#include "writ/backends/job/launched_options.h"

namespace writ::backends {

using ProcessBackendOptions = LaunchedOptions;

// Name "process".
std::unique_ptr<Backend> MakeProcessBackend(ProcessBackendOptions options);

}  // namespace writ::backends
