// What a machine of this host is, as far as a snapshot of one depends on it.
#pragma once

#include <sys/stat.h>

#include <mutex>
#include <optional>
#include <string>

#include "writ/backends/job/host_features.h"
#include "writ/backends/microvm/snapshots/snapshot_manifest.h"
#include "writ/base/result.h"

namespace writ::backends {

// Reads a monitor's program, and again when it is another file: a package may replace it between
// two runs. Thread-safe.
class MonitorReader {
 public:
  // Of the monitor that was found. kUnsupported where it is none whose machines become snapshots.
  Result<microvm::SnapshotFit> FitOf(const MachineFeatures& machine);

 private:
  std::mutex mutex_;  // guards both
  struct stat seen_ {};
  std::optional<microvm::VmmIdentity> identity_;
};

inline constexpr std::uint64_t kMillisOfACpu = 1000;

struct MachineSize {
  std::uint64_t memory_bytes = 0;
  unsigned cpus = 1;
  auto operator<=>(const MachineSize&) const = default;
};
inline MachineSize SizeOf(const microvm::SnapshotFit& fit) {
  return {fit.memory_bytes, fit.cpus};
}

// The rest of it, of a run's machine.
void SetMachine(const protocol::Digest& image, const MachineSize& size, microvm::SnapshotFit& fit);

}  // namespace writ::backends
