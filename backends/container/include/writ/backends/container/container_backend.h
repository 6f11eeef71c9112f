// ContainerBackend: the `container` tier. An OCI runtime (crun, runc, runsc) makes the job's root
// from an image of the store, inside the namespaces that `writ-launch` makes for every sandboxed
// job: an empty network that holds the session's proxy alone, one uid, no capability, seccomp and
// Landlock as in the sandbox tier. The runtime runs as the job's uid in those namespaces, never as
// root of the host; what it keeps lies in memory and goes with them.
//
// What this tier does not give: another kernel - but with gVisor's runsc, whose kernel carries out
// what the job asks for and holds its filters, without Landlock (ContainerKernel::kOwn;
// docs/decisions/0007).
#pragma once

#include <memory>
#include <string>

#include "writ/backends/backend.h"
#include "writ/backends/job/launched_options.h"

namespace writ::backends {

struct ContainerBackendOptions {
  LaunchedOptions launched;
  std::string runtime{};        // absolute path, or a name to look up; "" tries crun, runc, runsc
  std::string images_dir{};     // of the ImageStore
  std::string default_image{};  // where a plan names none; "" refuses such a plan
};

// Name "container".
std::unique_ptr<Backend> MakeContainerBackend(ContainerBackendOptions options);

}  // namespace writ::backends
