// The policy document `warrant.policy.v1` as typed data.
//
// Every member is enforced or the policy is refused: unknown members, words and conditions are
// issues (L4). Evaluation is the plane's.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "writ/protocol/contract.h"

namespace writ::protocol {

inline constexpr std::string_view kPolicyVersion = "warrant.policy.v1";

enum class ConsentWhen { kSecretRelease, kAnyRun, kAgentKind };
inline constexpr json::EnumName<ConsentWhen> kConsentWhenTable[] = {
    {ConsentWhen::kSecretRelease, "secret-release"},
    {ConsentWhen::kAnyRun, "any-run"},
    {ConsentWhen::kAgentKind, "agent-kind"}};

struct DataClassRule {
  std::string data_class;
  std::vector<PoolName> allow_pools;
};
struct ReleasableSecret {
  SecretName name;
  std::string scope;
  std::vector<PoolName> pools;
};
struct ConsentRule {
  ConsentWhen when = ConsentWhen::kAnyRun;
  std::optional<std::string>
      match;  // agent-kind: the kind (required there); secret-release: the secret's name
  std::vector<std::string> approvers;
};

struct Policy {
  std::vector<PoolName> allow_pools;
  std::vector<AgentKind> allow_agents;
  std::vector<DataClassRule> data_classes;
  NetworkSpec network;
  std::vector<ReleasableSecret> releasable;
  Budget budget;
  std::vector<ConsentRule> consent;
  std::int64_t receipts_days = 365;
  std::int64_t artifacts_days = 90;
  json::Value raw;  // as it was read; null when built here

  static Result<Policy> Parse(const json::Value& value);
  // The same for who looks for more that is wrong: nothing of it may be enforced where there are
  // issues.
  static Policy Read(json::Issues& issues, const json::Value& value);
  json::Value ToJson() const;  // `raw` where there is one
  Digest Hash() const;         // policyHash
};

}  // namespace writ::protocol
