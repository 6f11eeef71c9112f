#include "plan/network.h"

namespace writ::runner {

using protocol::FailureClass;

std::variant<NetworkPlan, RunFailure> PlanNetwork(
    const protocol::Contract& contract, const protocol::ExecutionEnv& env,
    const std::vector<egress::ProtectedEndpoint>& plane_addresses, const RunnerConfig& config) {
  NetworkPlan plan;
  plan.proxied = env.egress_proxy;
  if (!contract.network.default_deny && !config.grants.open_network)
    return RunFailure{FailureClass::kCapabilityMismatch, "plan.open_network_not_granted",
                      "the contract asks for an open network (defaultDeny: false), which this "
                      "runner's operator does not grant",
                      "name the hosts in allowHosts, or set grants.openNetwork"};
  if (!plan.proxied) return plan;
  egress::OperatorEgress op;
  op.never = plane_addresses;
  if (config.allow_hosts) {
    op.rules.emplace();
    for (std::size_t i = 0; i < config.allow_hosts->size(); ++i) {
      Result<egress::HostPattern> host = egress::HostPattern::Parse((*config.allow_hosts)[i]);
      if (!host)
        return RunFailure{FailureClass::kCapabilityMismatch, "plan.operator_host",
                          "an entry of the operator's allowHosts is no host pattern",
                          "check the runner's configuration"};
      op.rules->push_back(egress::Rule{.id = "operator." + std::to_string(i),
                                       .effect = egress::Rule::Effect::kAllow,
                                       .host = std::move(*host),
                                       .port = std::nullopt,
                                       .grants = {}});
    }
  }
  for (std::size_t i = 0; i < config.address_grants.size(); ++i) {
    if (auto range = egress::Cidr::Parse(config.address_grants[i]))
      op.address_grants.push_back({"address." + std::to_string(i), *range});
  }
  std::vector<std::string> hosts;
  for (const protocol::AllowedHost& host : contract.network.allow_hosts)
    hosts.push_back(host.text());
  Result<egress::RuleSet> rules = egress::Narrow(hosts, op);
  if (!rules) return FailureFrom(rules.error(), FailureClass::kCapabilityMismatch);
  plan.rules = std::move(*rules);
  if (!contract.network.default_deny) plan.rules.unmatched = egress::Unmatched::kAllowPublic;
  return plan;
}

}  // namespace writ::runner
