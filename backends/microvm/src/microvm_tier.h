// MicrovmTier: its probes in words, and its LaunchPlan. Everything else is LaunchedBackend's.
#pragma once

#include "writ/backends/image/image_store.h"
#include "writ/backends/job/launched_tier.h"
#include "writ/backends/microvm/microvm_backend.h"
#include "writ/backends/microvm/vmm.h"
#include "writ/backends/sandbox/sandbox_tier.h"

namespace writ::backends {

class MicrovmTier final : public LaunchedTier {
 public:
  explicit MicrovmTier(MicrovmBackendOptions options);
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
  JobPaths PathsOf(const Plan& plan) const override { return sandbox_.PathsOf(plan); }
  launch::LaunchPlan PlanLaunch(const Plan& plan, const HostFeatures& features,
                                const LaunchFacts& facts) const override;

 private:
  Result<image::ImageRecord> FindImage(const Plan& plan) const;
  std::uint64_t MachineMemory(const Plan& plan) const;

  MicrovmBackendOptions options_;
  image::ImageStore store_;
  SandboxTier sandbox_;
};

}  // namespace writ::backends
