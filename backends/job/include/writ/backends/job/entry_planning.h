// From Plan and EntryPlan to EntryRequest: what is put beside a job, without doing anything.
#pragma once

#include "writ/backends/entry.h"
#include "writ/backends/job/launched_tier.h"
#include "writ/backends/launch/entry_request.h"
#include "writ/base/result.h"

namespace writ::backends {

// The environment is the base's and the entry's own: nothing of the job's, so no secret of it.
// kInvalid: an empty argv, NUL bytes, a path that is no path.
Result<launch::EntryRequest> PlanEntry(const Plan& job, EntryPlan entry, const JobPaths& paths);

}  // namespace writ::backends
