// MicrovmTier: its probes in words, and its LaunchPlan. Everything else is LaunchedBackend's.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base_images.h"
#include "machine_fit.h"
#include "page_supply.h"
#include "writ/backends/image/image_store.h"
#include "writ/backends/job/launched_tier.h"
#include "writ/backends/microvm/microvm_backend.h"
#include "writ/backends/microvm/snapshots/snapshot_store.h"
#include "writ/backends/microvm/vmm.h"
#include "writ/backends/sandbox/sandbox_tier.h"

namespace writ::backends {

// The machines of these runs become snapshots instead of having a job.
struct SnapshotMaking {
  std::vector<std::string> warm_up;
  std::chrono::milliseconds warm_up_bound{0};
};

class MachinePool;

// Of a job, for a machine of this size: MicrovmTier::SizeFor the other way round.
Limits JobLimitsOf(const MachineSize& size);

class MicrovmTier final : public LaunchedTier {
 public:
  explicit MicrovmTier(MicrovmBackendOptions options, std::optional<SnapshotMaking> making = {});
  // The machines of these runs are restored and stay paused, for another's job (machine_pool.h).
  MicrovmTier(MicrovmBackendOptions options, std::shared_ptr<PageSupply> pages);
  ~MicrovmTier() override;
  std::string_view Name() const override { return "microvm"; }
  Tier GetTier() const override { return Tier::kMicrovm; }
  JobSurroundings Surroundings() const override { return JobSurroundings::kNamespaces; }
  HostFeatures Probe() const override;
  Capabilities Describe(const HostFeatures& features) const override;
  Status CheckPlan(const Plan& plan, const HostFeatures& features) const override;
  std::uint64_t OwnTasks() const override { return 0; }
  std::uint64_t LeastMemory(const HostFeatures&) const override { return 32u << 20; }
  Limits OutsideLimits(const Plan& plan) const override;
  std::vector<HeldLimit> HoldersOf(const Limits& limits,
                                   const HostFeatures& features) const override;
  std::chrono::milliseconds StartBound() const override;
  Result<HeldRoot> Hold(const Plan& plan) const override;
  Status Furnish(const Plan& plan, const HostFeatures& features, int session_dir,
                 HeldRoot& root) const override;
  void OnEnd(const Plan& plan, HeldRoot& root) const override;
  std::optional<WaitingMachines> Waiting() const override;
  void ForgetWaiting() const override;
  JobPaths PathsOf(const Plan& plan) const override { return sandbox_.PathsOf(plan); }
  launch::LaunchPlan PlanLaunch(const Plan& plan, const HostFeatures& features,
                                const LaunchFacts& facts) const override;

  // What a snapshot of this run's machine depends on.
  Result<microvm::SnapshotFit> FitOf(const Plan& plan, const HostFeatures& features,
                                     const std::string& image) const;

 private:
  // Shows the machine the image of its workspace's base, where one can be kept.
  void UseBase(const Plan& plan, HeldRoot& root) const;
  Result<image::ImageRecord> FindImage(const Plan& plan) const;
  MachineSize SizeFor(const Plan& plan) const;
  // Puts what is needed of the newest snapshot that fits into the session. The error: why none is
  // used.
  Status UseSnapshot(const Plan& plan, const HostFeatures& features, int session_dir,
                     HeldRoot& root) const;
  Status PutSnapshot(const microvm::SnapshotRecord& record, int made, const Plan& plan,
                     HeldRoot& root) const;
  Status CopySnapshot(const microvm::HeldSnapshot& held, int made, const Identity& identity,
                      microvm::MemoryCopy memory) const;
  std::chrono::milliseconds BootBound() const;

  MicrovmBackendOptions options_;
  std::optional<SnapshotMaking> making_;
  bool holding_ = false;
  image::ImageStore store_;
  microvm::SnapshotStore snapshots_;
  mutable MonitorReader monitor_;
  const std::shared_ptr<PageSupply> pages_;
  mutable BaseImages bases_;
  SandboxTier sandbox_;
  std::unique_ptr<MachinePool> pool_;  // last: its machines need all of the above
};

}  // namespace writ::backends
