// What of the machine a runner has for its runs, and whether one more fits into it (L41, L42).
#pragma once

#include <optional>

#include "engine/slot_pool.h"
#include "writ/backends/linux/machine.h"
#include "writ/runner/config.h"
#include "writ/runner/plan.h"

namespace writ::runner {

// The operator's wish, cut down to the machine less the memory that is kept free.
SlotCapacity CapacityFor(const RunnerConfig& config, const backends::MachineCapacity& machine);

// A run's part of it; what it is limited to where neither contract nor operator says.
MachineShare EachShare(const SlotCapacity& capacity, const RunnerConfig& config,
                       const OperatorLimits& limits);

// What is free at this moment. 0: not known.
struct FreeNow {
  std::uint64_t memory_bytes = 0;
  std::uint64_t disk_bytes = 0;
};
FreeNow LookAtFree(int sessions_dir);

// Bytes of the file system that are free beside what the operator keeps so; nullopt: not known.
std::optional<std::uint64_t> UsableDisk(int sessions_dir, const OperatorLimits& limits);

// Pure: the disk of a run whose contract asks for none: an equal part of the total, at most
// `most` (0: any). Caches grow beside the runs: where the last slot has a little less than its part
// left, it gets that.
std::uint64_t OrdinaryDisk(const SlotCapacity& capacity, std::uint64_t reserved,
                           std::uint64_t most);

// Pure: whether a run that asks for `memory_bytes` and `disk_bytes` can have them now, with what is
// kept free left over. kOverloaded "fit.memory", "fit.disk".
Status CheckFree(std::uint64_t memory_bytes, std::uint64_t disk_bytes, const FreeNow& now,
                 const OperatorLimits& limits);

}  // namespace writ::runner
