// What this machine really has for jobs: its CPUs and memory, cut down to what the cgroups that
// this process is in leave (L42). Reads only.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace writ::backends {

// 0: not known.
struct MachineCapacity {
  std::uint64_t cpu_millis = 0;              // thousandths of a CPU
  std::uint64_t memory_bytes = 0;            // at most, with nothing else running
  std::uint64_t available_memory_bytes = 0;  // now, without swapping
};
MachineCapacity ProbeMachine();

// "max 100000" or "QUOTA PERIOD" of cpu.max, in thousandths of a CPU; nullopt: no limit, or not
// readable as one. At least 1.
std::optional<std::uint64_t> CpuQuotaMillis(std::string_view cpu_max);

}  // namespace writ::backends
