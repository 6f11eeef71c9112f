#include "writ/protocol/runner_capabilities.h"
#include "writ/runner/plan.h"

namespace writ::runner {

std::variant<protocol::Tier, RunFailure> AskedTier(const protocol::Contract& contract,
                                                   const RunnerConfig& config) {
  const std::string& word = contract.isolation ? *contract.isolation : config.default_isolation;
  if (auto tier = protocol::ParseTier(word)) return *tier;
  if (auto mapped = config.isolation_words.find(word); mapped != config.isolation_words.end()) {
    if (auto tier = protocol::ParseTier(mapped->second)) return *tier;
  }
  return RunFailure{protocol::FailureClass::kCapabilityMismatch, "plan.isolation_unknown",
                    "the contract asks for an isolation that this runner does not know",
                    "map the word in the runner's isolationWords, or ask for process, sandbox, "
                    "container or microvm"};
}

std::variant<protocol::Tier, RunFailure> ResolveTier(const protocol::Contract& contract,
                                                     const RunnerConfig& config) {
  auto asked = AskedTier(contract, config);
  const auto* tier = std::get_if<protocol::Tier>(&asked);
  const auto minimum = protocol::ParseTier(config.minimum_isolation);
  if (tier == nullptr || !minimum) return asked;
  return protocol::RaisedTo(*minimum, *tier);
}

backends::Tier BackendTier(protocol::Tier tier) {
  switch (tier) {
    case protocol::Tier::kProcess:
      return backends::Tier::kProcess;
    case protocol::Tier::kSandbox:
      return backends::Tier::kSandbox;
    case protocol::Tier::kContainer:
      return backends::Tier::kContainer;
    case protocol::Tier::kMicroVm:
      return backends::Tier::kMicrovm;
  }
  return backends::Tier::kMicrovm;
}

}  // namespace writ::runner
