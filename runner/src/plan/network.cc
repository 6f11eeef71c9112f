#include "plan/network.h"

#include <charconv>
#include <utility>

namespace writ::runner {

using protocol::FailureClass;

Result<OperatorHost> ParseOperatorHost(std::string_view text) {
  std::optional<std::uint16_t> port;
  // The colons of an address literal stand before its bracket's end.
  const std::size_t colon = text.rfind(':');
  if (colon != std::string_view::npos && text.find(']', colon) == std::string_view::npos) {
    const std::string_view digits = text.substr(colon + 1);
    std::uint16_t number = 0;
    auto [end, err] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (err != std::errc() || end != digits.data() + digits.size() || number == 0)
      return Error{ErrorKind::kInvalid, "runner.operator_host",
                   "the port of an allowHosts entry is no number from 1 to 65535",
                   "write it like models.example.com:8443"};
    port = number;
    text = text.substr(0, colon);
  }
  WRIT_ASSIGN(egress::HostPattern host, egress::HostPattern::Parse(text));
  return OperatorHost{std::move(host), port};
}

Result<egress::RuleSet> SessionRules(const std::vector<std::string>& contract_hosts,
                                     std::vector<egress::ProtectedEndpoint> never,
                                     const RunnerConfig& config) {
  egress::OperatorEgress op;
  op.never = std::move(never);
  if (config.allow_hosts) {
    op.rules.emplace();
    for (std::size_t i = 0; i < config.allow_hosts->size(); ++i) {
      Result<OperatorHost> entry = ParseOperatorHost((*config.allow_hosts)[i]);
      if (!entry)
        return Error{ErrorKind::kInvalid, "plan.operator_host",
                     "an entry of the operator's allowHosts is no host pattern",
                     "check the runner's configuration"};
      op.rules->push_back(egress::Rule{.id = "operator." + std::to_string(i),
                                       .effect = egress::Rule::Effect::kAllow,
                                       .host = std::move(entry->host),
                                       .port = entry->port,
                                       .grants = {}});
    }
  }
  for (std::size_t i = 0; i < config.address_grants.size(); ++i) {
    if (auto range = egress::Cidr::Parse(config.address_grants[i]))
      op.address_grants.push_back({"address." + std::to_string(i), *range});
  }
  return egress::Narrow(contract_hosts, op);
}

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
  std::vector<std::string> hosts;
  for (const protocol::AllowedHost& host : contract.network.allow_hosts)
    hosts.push_back(host.text());
  Result<egress::RuleSet> rules = SessionRules(hosts, plane_addresses, config);
  if (!rules) return FailureFrom(rules.error(), FailureClass::kCapabilityMismatch);
  plan.rules = std::move(*rules);
  if (!contract.network.default_deny) plan.rules.unmatched = egress::Unmatched::kAllowPublic;
  return plan;
}

}  // namespace writ::runner
