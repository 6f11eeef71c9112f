// The process tier: its probes in words, and its LaunchPlan. Everything else is LaunchedBackend's.
#pragma once

#include "writ/backends/job/launched_tier.h"
#include "writ/backends/process_backend.h"

namespace writ::backends {

class ProcessTier final : public LaunchedTier {
 public:
  explicit ProcessTier(ProcessBackendOptions options) : options_(std::move(options)) {}
  std::string_view Name() const override { return "process"; }
  Tier GetTier() const override { return Tier::kProcess; }
  JobSurroundings Surroundings() const override { return JobSurroundings::kTheHosts; }
  HostFeatures Probe() const override;
  Capabilities Describe(const HostFeatures& features) const override;
  Status CheckPlan(const Plan& plan, const HostFeatures& features) const override;
  std::uint64_t LeastMemory(const HostFeatures&) const override { return 4u << 20; }
  JobPaths PathsOf(const Plan& plan) const override;
  launch::LaunchPlan PlanLaunch(const Plan& plan, const HostFeatures& features,
                                const LaunchFacts& facts) const override;

 private:
  ProcessBackendOptions options_;
};

}  // namespace writ::backends
