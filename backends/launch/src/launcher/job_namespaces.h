// The job's namespaces, seen from the supervisor: it stays in the host's and has pid 1 of the job's
// pid namespace as its child.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "writ/backends/launch/inside.h"
#include "writ/backends/launch/launch_plan.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::launch {

struct JobInit {
  pid_t pid = -1;
  // What is said on it is in inside.h; kMapped comes with the idmapped lower trees in the order of
  // their steps, and behind them with the supplies where there are any.
  UniqueFd socket;
};

// Makes the namespaces with init in them, its cgroups and its id maps, and lets init go on.
// `supplies`: for the owner of a machine; -1: there are none.
Result<JobInit> StartInit(const LaunchPlan& plan, int supplies);

}  // namespace writ::backends::launch
