// What a policy says about a request: allow, ask or deny, with every reason. Pure.
//
// Every member of the policy is enforced here or where it bites: pools, agents, network, data
// classes, releasable secrets, budget and consent at the request (and again at approval); secrets
// once more at the claim; retention by the sweep. A policy with a member that could not be enforced
// is refused by ReadPolicy and never gets this far (L4, L5).
#pragma once

#include <string>
#include <vector>

#include "run_request.h"
#include "writ/plane/config.h"
#include "writ/protocol/policy.h"

namespace writ::plane {

struct ConsentRequirement {
  std::string word;                    // "secret-release:NAME", "any-run", "agent-kind:KIND"
  std::vector<std::string> approvers;  // any one of them; never empty
};

struct PolicyDecision {
  enum class Verdict { kAllow, kAsk, kDeny };
  Verdict verdict = Verdict::kDeny;
  std::string reason;                // one sentence, as it goes into the chain
  std::vector<std::string> reasons;  // kDeny: each of them
  std::vector<ConsentRequirement> requirements;
  std::vector<protocol::SecretGrant> secrets;  // with the scopes under which they may be released
  protocol::Budget budget;  // the request's, with the policy's ceilings where needed
};
std::string_view VerdictWord(PolicyDecision::Verdict verdict);

PolicyDecision Evaluate(const protocol::Policy& policy, const RunRequest& request,
                        OpenNetwork operator_grant);

// The rule under which `name` may be released in `pool`; nullptr where there is none.
const protocol::ReleasableSecret* FindReleasable(const protocol::Policy& policy,
                                                 const protocol::SecretName& name,
                                                 const protocol::PoolName& pool);

// A policy with every place that is wrong in it: what cannot be understood, and what this build
// could not enforce ("policy.unenforceable"). It may be used where there is no issue.
protocol::Policy ReadPolicy(json::Issues& issues, const json::Value& value);

// True where a host of a request is covered by the policy's list. Same text, or beneath a "*."
// entry.
bool HostCovered(const std::vector<protocol::AllowedHost>& allowed,
                 const protocol::AllowedHost& host);

}  // namespace writ::plane
