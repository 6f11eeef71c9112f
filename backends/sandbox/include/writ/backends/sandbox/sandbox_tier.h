// The sandbox tier: its probes in words, and its LaunchPlan. Everything else is LaunchedBackend's.
#pragma once

#include "writ/backends/job/launched_tier.h"
#include "writ/backends/sandbox/root_images.h"
#include "writ/backends/sandbox_backend.h"

namespace writ::backends {

class SandboxTier final : public LaunchedTier {
 public:
  explicit SandboxTier(SandboxBackendOptions options)
      : options_(std::move(options)),
        images_({Tier::kSandbox, ""}, options_.images_dir, options_.default_image) {}
  std::string_view Name() const override { return "sandbox"; }
  Tier GetTier() const override { return Tier::kSandbox; }
  JobSurroundings Surroundings() const override { return JobSurroundings::kNamespaces; }
  HostFeatures Probe() const override;
  Capabilities Describe(const HostFeatures& features) const override;
  Status CheckPlan(const Plan& plan, const HostFeatures& features) const override;
  std::uint64_t LeastMemory(const HostFeatures&) const override { return 6u << 20; }
  Result<HeldRoot> Hold(const Plan& plan) const override;
  JobPaths PathsOf(const Plan& plan) const override;
  launch::LaunchPlan PlanLaunch(const Plan& plan, const HostFeatures& features,
                                const LaunchFacts& facts) const override;

 private:
  SandboxBackendOptions options_;
  RootImages images_;
};

}  // namespace writ::backends
