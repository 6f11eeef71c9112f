// A LaunchPlan to be read by people, compared with golden files and kept beside a receipt: every
// field, in the launcher's own words. Filters and files stand by size and SHA-256. No secret can be
// in it: the environment is no part of a launch plan.
#pragma once

#include "writ/backends/launch/launch_plan.h"
#include "writ/backends/linux/cgroup.h"
#include "writ/protocol/json.h"

namespace writ::backends {

json::Value LaunchPlanJson(const launch::LaunchPlan& plan);
json::Value CgroupPlanJson(const CgroupPlan& plan);

}  // namespace writ::backends
