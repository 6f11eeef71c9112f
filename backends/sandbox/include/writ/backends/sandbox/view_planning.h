// From Plan to the view of one job: pure.
#pragma once

#include <cstdint>
#include <string>
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

// The size of a place in memory that a job may write: a fixed one, and a little more than the run's
// disk limits where those are less, so that passing them is seen and told, not only refused.
struct MemoryPlace {
  std::uint64_t bytes = 0;
  std::uint64_t files = 0;
};
MemoryPlace SharedMemoryPlace(const Limits& limits);  // /dev/shm

// What the view has in /etc of the job's own, absolute.
std::vector<std::string> OwnFilesOfEtc();

// `system` first, its /dev/shm as large as SharedMemoryPlace, then what is this job's: accounts,
// names, HOME, temporary files, read-only trees, workspace.
std::vector<launch::ViewStep> PlanView(const Plan& plan, const JobPaths& paths,
                                       const std::vector<launch::ViewStep>& system,
                                       Programs programs, launch::LowerOwner lower_owner);

// What is read-write in it, for the Landlock rules.
std::vector<std::string> WritablePlaces(const JobPaths& paths);

}  // namespace writ::backends
