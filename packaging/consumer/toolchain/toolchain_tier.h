// A backend outside Writ's tree: the sandbox, in which every job also finds one folder of the host,
// read-only, at /opt/toolchain - a compiler, say, that is not installed below /usr.
//
// It composes the installed SandboxTier: what a tier is asked is answered by that one, but for its
// name and one more step of the job's view. writ-launch applies the step as it does all others, so
// nothing here runs with a right of its own.
#pragma once

#include <writ/backends/job/launched_backend.h>
#include <writ/backends/job/launched_tier.h>
#include <writ/backends/sandbox/sandbox_tier.h>

#include <memory>
#include <string>

namespace example {

inline constexpr char kToolchainPlace[] = "/opt/toolchain";  // in the job's view

class ToolchainTier final : public writ::backends::LaunchedTier {
 public:
  // `folder`: absolute, without a symbolic link; readable for jobs.
  ToolchainTier(writ::backends::SandboxBackendOptions options, std::string folder)
      : sandbox_(std::move(options)), folder_(std::move(folder)) {}

  std::string_view Name() const override { return "toolchain"; }
  writ::backends::Tier GetTier() const override { return sandbox_.GetTier(); }
  writ::backends::JobSurroundings Surroundings() const override { return sandbox_.Surroundings(); }
  writ::backends::HostFeatures Probe() const override { return sandbox_.Probe(); }
  writ::backends::Capabilities Describe(
      const writ::backends::HostFeatures& features) const override;
  writ::Status CheckPlan(const writ::backends::Plan& plan,
                         const writ::backends::HostFeatures& features) const override {
    return sandbox_.CheckPlan(plan, features);
  }
  std::uint64_t LeastMemory(const writ::backends::HostFeatures& features) const override {
    return sandbox_.LeastMemory(features);
  }
  writ::Result<writ::backends::HeldRoot> Hold(const writ::backends::Plan& plan) const override {
    return sandbox_.Hold(plan);
  }
  writ::backends::JobPaths PathsOf(const writ::backends::Plan& plan) const override {
    return sandbox_.PathsOf(plan);
  }
  writ::backends::launch::LaunchPlan PlanLaunch(
      const writ::backends::Plan& plan, const writ::backends::HostFeatures& features,
      const writ::backends::LaunchFacts& facts) const override;

 private:
  writ::backends::SandboxTier sandbox_;
  std::string folder_;
};

std::unique_ptr<writ::backends::Backend> MakeToolchainBackend(
    const writ::backends::SandboxBackendOptions& options, std::string folder);

}  // namespace example
