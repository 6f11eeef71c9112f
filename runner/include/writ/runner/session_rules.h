// What a session's proxy enforces: the contract's hosts cut down by the operator's (L4, L5, L6).
// Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/base/result.h"
#include "writ/egress/rules.h"

namespace writ::runner {

struct RunnerConfig;

// An entry of the operator's allowHosts: "models.example.com", "*.example.com:8443",
// "[2001:db8::7]:443". Without a port: 80 for plain HTTP and 443 for CONNECT.
struct OperatorHost {
  egress::HostPattern host;
  std::optional<std::uint16_t> port;
};
// kInvalid "runner.operator_host", or what HostPattern::Parse says.
Result<OperatorHost> ParseOperatorHost(std::string_view text);

// Of the operator it takes allowHosts (rules "operator.N") and addressGrants ("address.N").
// kInvalid "plan.operator_host", "egress.contract_host".
Result<egress::RuleSet> SessionRules(const std::vector<std::string>& contract_hosts,
                                     std::vector<egress::ProtectedEndpoint> never,
                                     const RunnerConfig& config);

}  // namespace writ::runner
