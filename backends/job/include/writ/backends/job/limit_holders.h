// What holds each limit of a plan on this host: pure, from what was probed. The same answer decides
// in Check (L4), and stands in the receipt (L47).
#pragma once

#include <cstdint>
#include <vector>

#include "writ/backends/capability.h"
#include "writ/backends/job/host_features.h"
#include "writ/backends/limits.h"

namespace writ::backends {

// RLIMIT_NPROC stands this much above the limit of tasks that the supervisor ends a job for.
inline constexpr std::uint64_t kTaskSlack = 16;

// Tasks of the launcher among the job's: in its groups and below its supervisor.
std::uint64_t OwnTasks(JobSurroundings surroundings);

// Whether the job's tasks are limited and counted by a cgroup. On a v1 host a uid of the job's own
// does it without one, unless the job is moved into a v1 group for its memory anyway: the first
// move waits for the kernel (some ms), the next one costs nothing.
bool ProcessesInGroup(const Limits& limits, const HostFeatures& features);

std::vector<HeldLimit> HoldLimits(const Limits& limits, const HostFeatures& features,
                                  JobSurroundings surroundings);

// Whether a contract may ask for it: it is held for the job as a whole (L4).
bool HeldForTheWholeJob(const HeldLimit& held);

// What holds each kind of limit: that of a job that has every one.
Limits EveryLimit();
std::vector<LimitCapability> DescribeLimits(std::vector<HeldLimit> every);

}  // namespace writ::backends
