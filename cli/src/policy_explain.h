// PolicyExplanation: which of policy, contract and operator lets a session reach a host, and why
// not. Pure: what a run would be told, from the same functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "writ/base/result.h"
#include "writ/egress/decision.h"
#include "writ/egress/host_lint.h"
#include "writ/protocol/json.h"
#include "writ/protocol/policy.h"
#include "writ/runner/config.h"

namespace writ::cli {

struct PolicyQuestion {
  std::string host;
  std::optional<std::uint16_t> port;        // nullopt: 443; 80 is plain HTTP, all else CONNECT
  std::vector<std::string> contract_hosts;  // empty: as if the contract named the host itself
  std::vector<std::string> addresses;       // that the name leads to; empty: not looked at
};

// One of those who have to agree.
struct PolicyVoice {
  std::string source;  // "policy", "contract", "operator"
  bool allows = false;
  std::string place;  // of the entry that covers the host: "/network/allowHosts/0"; may be empty
  std::string words;  // that entry, or why there is none
};

struct PolicyExplanation {
  std::string host;  // as it is compared
  std::uint16_t port = 0;
  bool allowed = false;
  std::vector<PolicyVoice> voices;
  egress::Decision decision;  // of the session's proxy; meant where the policy allows
  std::string mend;           // empty where it is allowed
};

// `policy` is nullopt where none is known here. What HostName::Normalise says of a bad host, what
// HostPattern::Parse says of a contract's; kInvalid "policy.address".
Result<PolicyExplanation> ExplainPolicy(const PolicyQuestion& question,
                                        const std::optional<protocol::Policy>& policy,
                                        const runner::RunnerConfig& config);
json::Value PolicyExplanationJson(const PolicyExplanation& explanation);
std::string RenderPolicyExplanation(const PolicyExplanation& explanation);

json::Array FindingsJson(const std::vector<egress::HostFinding>& findings,
                         const std::string& pointer);

}  // namespace writ::cli
