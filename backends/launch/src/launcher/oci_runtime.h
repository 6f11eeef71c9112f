// An OCI runtime between init and the job: started by init in the view, ended with it.
//
// init (pid 1 of the pid namespace, uid 0 of the user namespace) -> runtime -> `writ-launch
// --inside` (pid 1 of the container) -> the job. The runtime never sees the job's environment; its
// own output goes nowhere but into the reason why it failed.
#pragma once

#include <functional>
#include <string>

#include "writ/backends/launch/launch_plan.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::launch {

// Starts the runtime, reaps until it has ended, and ends what is left. Why the container's first
// process never got ready; empty: it did, and has told the rest by itself. `socket`: JobInit's
// other end, handed on, as are `supplies` to the owner of a machine. `ready` is called once where
// the container cannot say Ready by itself (ContainerKernel::kOwn).
std::string RunRuntime(const LaunchPlan& plan, int socket, UniqueFd listener, UniqueFd supplies,
                       const std::function<void()>& ready);

// `writ-launch --inside` and `--inside-own-kernel`. 2: not started by a runtime of ours.
int RunInsideContainer(ContainerKernel kernel);

}  // namespace writ::backends::launch
