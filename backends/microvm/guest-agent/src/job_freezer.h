// The processes of the guest's jobs, made to wait: by the cgroup v2 freezer, which no process of
// theirs sees. A guest has one job; its groups are those that its backend makes.
#pragma once

#include "writ/base/result.h"

namespace writ::backends::microvm {

// Until none of them runs, at most a second. What could not be held goes on.
Status HoldJobs();
void ReleaseJobs();

}  // namespace writ::backends::microvm
