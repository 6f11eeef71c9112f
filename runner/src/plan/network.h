// The network of a session: the contract's words, cut down by the operator's (L4, L5, L6). Pure.
#pragma once

#include "writ/runner/plan.h"

namespace writ::runner {

struct NetworkPlan {
  bool proxied = true;
  egress::RuleSet rules;
};
std::variant<NetworkPlan, RunFailure> PlanNetwork(
    const protocol::Contract& contract, const protocol::ExecutionEnv& env,
    const std::vector<egress::ProtectedEndpoint>& plane_addresses, const RunnerConfig& config);

}  // namespace writ::runner
