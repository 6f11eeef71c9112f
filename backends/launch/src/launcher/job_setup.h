// The job between fork and exec: the only place that forks, and the readable order of the steps.
#pragma once

#include <sys/types.h>

#include <string>

#include "writ/backends/launch/launch_plan.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::launch {

struct ForkedJob {
  pid_t pid = -1;
  // SOCK_SEQPACKET, O_CLOEXEC in the job: a ListenerReport with a descriptor, a FailureReport, or
  // end-of-file when exec has happened.
  UniqueFd report;
};

// A report that is not a failure: one byte, and the notification descriptor.
inline constexpr char kListenerReport = 'L';
// "F", errno in decimal, a blank, the stage. Stage "exec": the program is missing or cannot be run.
inline constexpr char kFailureReport = 'F';

// `ruleset`: -1 where the plan has no Landlock.
Result<ForkedJob> ForkJob(const LaunchPlan& plan, int ruleset);

}  // namespace writ::backends::launch
