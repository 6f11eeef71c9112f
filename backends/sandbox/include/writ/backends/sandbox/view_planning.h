// From Plan to the view of one job: pure.
#pragma once

#include <vector>

#include "writ/backends/job/launched_tier.h"
#include "writ/backends/launch/view_step.h"
#include "writ/backends/plan.h"

namespace writ::backends {

inline constexpr uid_t kInsideUid = 1000;
inline constexpr gid_t kInsideGid = 1000;
inline constexpr char kHostName[] = "writ";

// `system` first, then what is this job's: accounts, names, HOME, temporary files, read-only trees,
// workspace.
std::vector<launch::ViewStep> PlanView(const Plan& plan, const JobPaths& paths,
                                       const std::vector<launch::ViewStep>& system,
                                       launch::LowerOwner lower_owner);

// What is read-write in it, for the Landlock rules.
std::vector<std::string> WritablePlaces(const JobPaths& paths);

}  // namespace writ::backends
