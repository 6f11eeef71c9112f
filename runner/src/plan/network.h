// The network of a session: the contract's words, cut down by the operator's (L4, L5, L6). Pure.
#pragma once

#include "writ/runner/plan.h"

namespace writ::runner {

// An entry of the operator's allowHosts: "models.example.com", "*.example.com:8443",
// "[2001:db8::7]:443". Without a port: 80 for plain HTTP and 443 for CONNECT.
struct OperatorHost {
  egress::HostPattern host;
  std::optional<std::uint16_t> port;
};
Result<OperatorHost> ParseOperatorHost(std::string_view text);

struct NetworkPlan {
  bool proxied = true;
  egress::RuleSet rules;
};
std::variant<NetworkPlan, RunFailure> PlanNetwork(
    const protocol::Contract& contract, const protocol::ExecutionEnv& env,
    const std::vector<egress::ProtectedEndpoint>& plane_addresses, const RunnerConfig& config);

}  // namespace writ::runner
