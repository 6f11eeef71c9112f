// The job between fork and exec: the only place that forks, and the readable order of the steps.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "writ/backends/launch/launch_plan.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::launch {

// A report that is not a failure: one byte, and the notification descriptor.
inline constexpr char kListenerReport = 'L';
// "F", errno in decimal, a blank, the stage. Stage "exec": the program is missing or cannot be run.
inline constexpr char kFailureReport = 'F';

// Forks the job as a child of the caller: the supervisor, or the init of the job's namespaces,
// whose job is in its cgroups and has lost its rights already. `env`: NAME=value. `ruleset`: -1
// where the plan has no Landlock. `report`: SOCK_SEQPACKET, closed on exec in the job: it carries a
// kListenerReport with a descriptor, a kFailureReport, or end-of-file when exec has happened.
Result<pid_t> ForkJob(const LaunchPlan& plan, const std::vector<std::string>& env, int ruleset,
                      UniqueFd report);

}  // namespace writ::backends::launch
