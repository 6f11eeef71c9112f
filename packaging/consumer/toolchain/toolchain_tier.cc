#include "toolchain_tier.h"

#include <unistd.h>

namespace example {

using namespace writ::backends;

Capabilities ToolchainTier::Describe(const HostFeatures& features) const {
  Capabilities can = sandbox_.Describe(features);
  can.backend = std::string(Name());
  can.notes.push_back("jobs see a folder of the host at " + std::string(kToolchainPlace));
  if (can.usable && ::access(folder_.c_str(), R_OK | X_OK) != 0) {
    can.usable = false;
    can.unusable_reason = "the toolchain's folder " + folder_ + " is not there";
    can.unusable_mend = "install it, or name another";
  }
  return can;
}

launch::LaunchPlan ToolchainTier::PlanLaunch(const Plan& plan, const HostFeatures& features,
                                             const LaunchFacts& facts) const {
  launch::LaunchPlan out = sandbox_.PlanLaunch(plan, features, facts);
  launch::ViewStep show;
  show.kind = launch::ViewStep::Kind::kBind;
  show.target = std::string(kToolchainPlace).substr(1);
  show.source = folder_;
  show.access = launch::BindAccess::kReadOnly;
  out.namespaces->view.push_back(std::move(show));
  return out;
}

std::unique_ptr<Backend> MakeToolchainBackend(const SandboxBackendOptions& options,
                                              std::string folder) {
  auto tier = std::make_unique<ToolchainTier>(options, std::move(folder));
  return MakeLaunchedBackend(std::move(tier), options.launched);
}

}  // namespace example
