// BuildSnapshot: a machine of a guest image, booted to its agent, warmed up, made quiet, and stored
// as a snapshot that runs of the image and size start from.
//
// The machine is made as a run's is: by writ-launch, in the same jail, with the same places, so
// that what a snapshot holds is what a run's machine would be. It is emulated where there is no
// KVM; only QEMU's become snapshots.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "writ/backends/microvm/microvm_backend.h"
#include "writ/backends/microvm/snapshots/snapshot_store.h"
#include "writ/backends/plan.h"
#include "writ/base/result.h"

namespace writ::backends {

struct SnapshotBuild {
  MicrovmBackendOptions machines;  // as the runs' are
  std::string image;               // name or digest; empty: the runs' default
  std::uint64_t memory_bytes = 0;  // of a job; 0: of one that has no limit of its own
  unsigned cpus = 1;               // of the machine; at most the host's
  // Each for the guest's /bin/sh, as root, without a network. What the image's recipe has as START
  // and HEALTHCHECK comes last.
  std::vector<std::string> warm_up;
  std::chrono::milliseconds warm_up_bound = std::chrono::minutes(30);  // for all of them together
  Identity identity;  // of the monitor, while this is done
  // Absolute, existing, reachable by the identity; a folder is made in it and goes with the build,
  // or with the next sweep (SweepHalfMade).
  std::string work_dir;
  std::function<void(const std::string&)> told;  // what is being done, for people; may be empty
};

// kUnsupported "microvm.snapshot_..." where this host or monitor cannot; kUnavailable
// "job.setup_failed" with what went wrong in the machine.
Result<microvm::SnapshotRecord> BuildSnapshot(SnapshotBuild build);

// Why runs here would not start from it; nothing where they would. Reads the monitor once.
class SnapshotJudge {
 public:
  explicit SnapshotJudge(const MicrovmBackendOptions& options);
  ~SnapshotJudge();
  SnapshotJudge(const SnapshotJudge&) = delete;
  SnapshotJudge& operator=(const SnapshotJudge&) = delete;
  Status Judge(const microvm::SnapshotRecord& record) const;

 private:
  struct Facts;
  std::unique_ptr<Facts> facts_;
};

}  // namespace writ::backends
