// The container tier: the sandbox tier's plan with an OCI runtime and an image in the middle.
#pragma once

#include <atomic>

#include "writ/backends/container/container_backend.h"
#include "writ/backends/job/launched_tier.h"
#include "writ/backends/sandbox/root_images.h"
#include "writ/backends/sandbox/sandbox_tier.h"

namespace writ::backends {

class ContainerTier final : public LaunchedTier {
 public:
  explicit ContainerTier(ContainerBackendOptions options);
  std::string_view Name() const override { return "container"; }
  Tier GetTier() const override { return Tier::kContainer; }
  JobSurroundings Surroundings() const override { return JobSurroundings::kNamespaces; }
  HostFeatures Probe() const override;
  Capabilities Describe(const HostFeatures& features) const override;
  Status CheckPlan(const Plan& plan, const HostFeatures& features) const override;
  std::uint64_t OwnTasks() const override { return own_tasks_; }
  std::uint64_t LeastMemory(const HostFeatures& features) const override;
  Result<HeldRoot> Hold(const Plan& plan) const override;
  JobPaths PathsOf(const Plan& plan) const override { return sandbox_.PathsOf(plan); }
  launch::LaunchPlan PlanLaunch(const Plan& plan, const HostFeatures& features,
                                const LaunchFacts& facts) const override;

 private:
  ContainerBackendOptions options_;
  RootImages images_;
  SandboxTier sandbox_;
  mutable std::atomic<std::uint64_t> own_tasks_{3};  // of the runtime that Probe found
};

}  // namespace writ::backends
