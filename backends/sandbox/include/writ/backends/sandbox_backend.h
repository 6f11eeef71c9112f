// SandboxBackend: the `sandbox` tier. A job has user, mount, pid, ipc, uts, net, cgroup and time
// namespaces of its own: a view of the host's programs - or of an image's - that it cannot write,
// nothing of the host's data, a network that holds loopback and the session's proxy and nothing
// else, and no process but its own. Root is not needed.
//
// What this tier does not give: another kernel. System calls that the filter lets through reach the
// host's.
#pragma once

#include <memory>
#include <string>

#include "writ/backends/backend.h"
#include "writ/backends/job/launched_options.h"

namespace writ::backends {

struct SandboxBackendOptions {
  LaunchedOptions launched;
  std::string images_dir{};     // of the ImageStore; "": plans with an image are refused
  std::string default_image{};  // where a plan names none; "": the host's own programs
};

// Name "sandbox".
std::unique_ptr<Backend> MakeSandboxBackend(SandboxBackendOptions options);

}  // namespace writ::backends
