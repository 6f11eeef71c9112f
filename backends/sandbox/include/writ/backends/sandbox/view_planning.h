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

// Whose programs the job runs: the host's are in its view, with all of /usr.
enum class Programs { kOfTheHost, kOfAnImage };

// What the view has in /etc of the job's own, absolute.
std::vector<std::string> OwnFilesOfEtc();

// `system` first, then what is this job's: accounts, names, HOME, temporary files, read-only trees,
// workspace.
std::vector<launch::ViewStep> PlanView(const Plan& plan, const JobPaths& paths,
                                       const std::vector<launch::ViewStep>& system,
                                       Programs programs, launch::LowerOwner lower_owner);

// What is read-write in it, for the Landlock rules.
std::vector<std::string> WritablePlaces(const JobPaths& paths);

}  // namespace writ::backends
