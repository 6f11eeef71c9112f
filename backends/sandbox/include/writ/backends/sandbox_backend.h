// SandboxBackend: the `sandbox` tier. A job has user, mount, pid, ipc, uts, net and cgroup
// namespaces of its own: a view of the host's programs that it cannot write, nothing of the host's
// data, a network that holds loopback and the session's proxy and nothing else, and no process but
// its own. Root is not needed.
//
// What this tier does not give: another kernel. System calls that the filter lets through reach the
// host's.
#pragma once

#include <memory>

#include "writ/backends/backend.h"
#include "writ/backends/job/launched_options.h"

namespace writ::backends {

using SandboxBackendOptions = LaunchedOptions;

// Name "sandbox".
std::unique_ptr<Backend> MakeSandboxBackend(SandboxBackendOptions options);

}  // namespace writ::backends
