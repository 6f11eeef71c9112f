// The network of a session, as its plan has it. Pure.
#pragma once

#include "writ/runner/plan.h"
#include "writ/runner/session_rules.h"

namespace writ::runner {

struct NetworkPlan {
  bool proxied = true;
  egress::RuleSet rules;
};
std::variant<NetworkPlan, RunFailure> PlanNetwork(
    const protocol::Contract& contract, const protocol::ExecutionEnv& env,
    const std::vector<egress::ProtectedEndpoint>& plane_addresses, const RunnerConfig& config);

}  // namespace writ::runner
