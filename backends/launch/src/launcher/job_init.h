// Init: pid 1 of the job's pid namespace. A copy of the supervisor that sets the namespaces up from
// inside, gives up all rights, starts the job, reaps, and ends whatever the job leaves. It dies
// with the supervisor, and with it everything in its namespace.
#pragma once

#include "writ/backends/launch/launch_plan.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::launch {

// `socket`: JobInit::socket's other end. Order: id maps (waited for), identity, death signal,
// cgroup namespace, host name, no further user namespaces, loopback, proxy listener, view, Landlock
// rules, capabilities; Ready; then Start (waited for) and the job.
[[noreturn]] void RunInit(const LaunchPlan& plan, UniqueFd socket);

// The same for the first process of a container that an OCI runtime has made (`--inside`): user
// namespace of the job, death signal, Landlock rules, capabilities; Ready; then Start and the job.
// `told`: one byte goes there ahead of Ready, for who waits for the runtime. `listener` may be
// empty.
[[noreturn]] void RunInside(const LaunchPlan& plan, UniqueFd socket, UniqueFd listener,
                            UniqueFd told);

}  // namespace writ::backends::launch
