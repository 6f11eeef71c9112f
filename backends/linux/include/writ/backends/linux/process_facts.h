// What /proc tells of one process to somebody who may look at it. It may end at any time, and its
// pid be used again: who acts on an answer holds a pidfd that was opened before the question.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string_view>

namespace writ::backends {

// Its start, in clock ticks since the boot; 0: it is gone.
std::uint64_t StartTicksOf(pid_t pid);
// 0: it is gone, or was started by nobody in sight.
pid_t ParentOf(pid_t pid);
// Whether the environment that it was started with has `entry` ("NAME=value"). False too where it
// cannot be read, or the process wrote over it.
bool ShowsEntry(pid_t pid, std::string_view entry);
// How many seccomp filters it is held by (5.9); they are inherited and never taken off. nullopt:
// not told.
std::optional<unsigned> SeccompFiltersOf(pid_t pid);

}  // namespace writ::backends
