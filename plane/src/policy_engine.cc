#include "policy_engine.h"

#include <algorithm>
#include <set>

namespace writ::plane {
namespace {

using protocol::ConsentWhen;
using protocol::Disclosure;
using protocol::Policy;

template <typename T>
bool Holds(const std::vector<T>& list, const T& value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

std::string Quoted(const std::string& text) {
  return "\"" + text + "\"";
}

// The data classes that a run of this disclosure moves: the workspace goes in; what comes out
// depends.
std::vector<std::string_view> MovedClasses(const RunRequest& request) {
  std::vector<std::string_view> classes{protocol::kDataClassWorkspace};
  switch (request.disclosure) {
    case Disclosure::kNone:
    case Disclosure::kMetadataOnly:
      break;
    case Disclosure::kRedacted:
    case Disclosure::kMinimalContext:
    case Disclosure::kFull:
      classes.insert(classes.end(), {protocol::kDataClassCodeDiff, protocol::kDataClassCodeDelta,
                                     protocol::kDataClassSessionLog, protocol::kDataClassArtifact});
  }
  return classes;
}

// A run that reaches no host cannot spend, so it needs no ceiling (and its contract stays as short
// as the request).
bool CanSpend(const RunRequest& request) {
  bool closed = request.execution && !request.execution->env.egress_proxy;
  return !closed && (!request.network.default_deny || !request.network.allow_hosts.empty());
}

// Whether `pointer` is `above` or a place in it.
bool Within(std::string_view pointer, std::string_view above) {
  return pointer.starts_with(above) &&
         (pointer.size() == above.size() || pointer[above.size()] == '/');
}

std::string Number(double value) {
  return json::Write(json::Value(value));
}

void CheckBudget(const Policy& policy, const RunRequest& request, PolicyDecision& out) {
  out.budget = request.budget;
  if (auto ceiling = policy.budget.max_spend_usd) {
    if (request.budget.max_spend_usd && *request.budget.max_spend_usd > *ceiling) {
      out.reasons.push_back("budget maxSpendUsd " + Number(*request.budget.max_spend_usd) +
                            " is over the policy maximum " + Number(*ceiling));
    } else if (!request.budget.max_spend_usd && CanSpend(request)) {
      out.budget.max_spend_usd = ceiling;
    }
  }
  if (auto ceiling = policy.budget.max_duration_min) {
    if (request.budget.max_duration_min && *request.budget.max_duration_min > *ceiling) {
      out.reasons.push_back("budget maxDurationMin " + Number(*request.budget.max_duration_min) +
                            " is over the policy maximum " + Number(*ceiling));
    } else if (static_cast<double>(request.Timeout().count()) > *ceiling * 60'000) {
      // A time-out that was asked for is refused; the default one is cut.
      if (request.execution && request.execution->timeout_ms) {
        out.reasons.push_back("timeoutMs " + std::to_string(*request.execution->timeout_ms) +
                              " is over the policy maximum of " + Number(*ceiling) + " minutes");
      } else {
        out.budget.max_duration_min = ceiling;
      }
    }
  }
}

void CheckSecrets(const Policy& policy, const RunRequest& request, PolicyDecision& out) {
  for (const auto& name : request.secrets) {
    if (const auto* rule = FindReleasable(policy, name, request.pool)) {
      out.secrets.push_back({.name = name, .scope = rule->scope});
      continue;
    }
    bool known = std::any_of(policy.releasable.begin(), policy.releasable.end(),
                             [&](const auto& r) { return r.name == name; });
    out.reasons.push_back("secret " + Quoted(name.text()) +
                          (known
                               ? " is not releasable to runner pool " + Quoted(request.pool.text())
                               : std::string(" is not releasable")));
  }
}

std::vector<ConsentRequirement> Requirements(const Policy& policy, const RunRequest& request) {
  std::vector<ConsentRequirement> out;
  auto add = [&out](std::string word, const std::vector<std::string>& approvers) {
    for (auto& have : out) {
      if (have.word != word) continue;
      // Two rules for one thing: who satisfies both may grant it.
      std::erase_if(have.approvers, [&](const auto& a) { return !Holds(approvers, a); });
      return;
    }
    out.push_back({std::move(word), approvers});
  };
  for (const auto& rule : policy.consent) {
    switch (rule.when) {
      case ConsentWhen::kAnyRun:
        add("any-run", rule.approvers);
        break;
      case ConsentWhen::kAgentKind:
        for (const auto& kind : request.AgentKinds()) {
          if (rule.match == kind) add("agent-kind:" + kind, rule.approvers);
        }
        break;
      case ConsentWhen::kSecretRelease:
        for (const auto& name : request.secrets) {
          if (!rule.match || *rule.match == name.text()) {
            add("secret-release:" + name.text(), rule.approvers);
          }
        }
    }
  }
  return out;
}

}  // namespace

std::string_view VerdictWord(PolicyDecision::Verdict verdict) {
  switch (verdict) {
    case PolicyDecision::Verdict::kAllow:
      return "allow";
    case PolicyDecision::Verdict::kAsk:
      return "ask";
    case PolicyDecision::Verdict::kDeny:
      break;
  }
  return "deny";
}

bool HostCovered(const std::vector<protocol::AllowedHost>& allowed,
                 const protocol::AllowedHost& host) {
  std::string_view text = host.text();
  return std::any_of(allowed.begin(), allowed.end(), [&](const auto& entry) {
    std::string_view rule = entry.text();
    if (rule == text) return true;
    if (!rule.starts_with("*.")) return false;
    // "*.example.com" covers a.example.com and *.a.example.com, never example.com itself.
    std::string_view name = text.starts_with("*.") ? text.substr(2) : text;
    return name.size() > rule.size() - 1 && name.ends_with(rule.substr(1));
  });
}

const protocol::ReleasableSecret* FindReleasable(const Policy& policy,
                                                 const protocol::SecretName& name,
                                                 const protocol::PoolName& pool) {
  for (const auto& rule : policy.releasable) {
    if (rule.name == name && Holds(rule.pools, pool)) return &rule;
  }
  return nullptr;
}

PolicyDecision Evaluate(const Policy& policy, const RunRequest& request,
                        OpenNetwork operator_grant) {
  PolicyDecision out;
  if (!Holds(policy.allow_pools, request.pool)) {
    out.reasons.push_back("runner pool " + Quoted(request.pool.text()) + " is not allowed");
  }
  for (const auto& kind : request.AgentKinds()) {
    bool allowed = std::any_of(policy.allow_agents.begin(), policy.allow_agents.end(),
                               [&](const auto& a) { return a.text() == kind; });
    if (!allowed) out.reasons.push_back("agent kind " + Quoted(kind) + " is not allowed");
  }
  for (std::string_view moved : MovedClasses(request)) {
    for (const auto& rule : policy.data_classes) {
      if (rule.data_class == moved && !Holds(rule.allow_pools, request.pool)) {
        out.reasons.push_back("data class " + Quoted(rule.data_class) +
                              " is not allowed in runner pool " + Quoted(request.pool.text()));
      }
    }
  }
  if (!request.network.default_deny) {
    if (policy.network.default_deny) {
      out.reasons.emplace_back("network defaultDeny:false is not allowed by the policy");
    } else if (operator_grant != OpenNetwork::kGranted) {
      out.reasons.emplace_back("network defaultDeny:false is not granted by the operator");
    }
  }
  if (policy.network.default_deny) {
    for (const auto& host : request.network.allow_hosts) {
      if (!HostCovered(policy.network.allow_hosts, host)) {
        out.reasons.push_back("network host " + Quoted(host.text()) +
                              " is not in the policy allowlist");
      }
    }
  }
  CheckSecrets(policy, request, out);
  CheckBudget(policy, request, out);
  if (!out.reasons.empty()) {
    out.verdict = PolicyDecision::Verdict::kDeny;
    for (const auto& reason : out.reasons) out.reason += (out.reason.empty() ? "" : "; ") + reason;
    return out;
  }
  out.requirements = Requirements(policy, request);
  if (out.requirements.empty()) {
    out.verdict = PolicyDecision::Verdict::kAllow;
    out.reason = "policy allows this run";
    return out;
  }
  out.verdict = PolicyDecision::Verdict::kAsk;
  for (const auto& requirement : out.requirements) {
    out.reason += (out.reason.empty() ? "consent required: " : ", ") + requirement.word;
  }
  return out;
}

protocol::Policy ReadPolicy(json::Issues& issues, const json::Value& value) {
  Policy policy = Policy::Read(issues, value);
  const std::vector<json::Issue> misread = issues.list();
  // What could not be read is not judged as well: its value here is none that anybody wrote.
  auto add = [&](const std::string& pointer, std::string message) {
    const bool known = std::any_of(misread.begin(), misread.end(), [&](const json::Issue& issue) {
      return Within(issue.pointer, pointer) || Within(pointer, issue.pointer);
    });
    if (!known) issues.Add("policy.unenforceable", pointer, std::move(message));
  };
  static const std::set<std::string_view> kKnownClasses = {
      protocol::kDataClassCodeDiff, protocol::kDataClassCodeDelta, protocol::kDataClassSessionLog,
      protocol::kDataClassArtifact, protocol::kDataClassWorkspace};
  for (std::size_t i = 0; i < policy.data_classes.size(); ++i) {
    if (!kKnownClasses.contains(policy.data_classes[i].data_class)) {
      add("/dataClasses/" + std::to_string(i) + "/dataClass",
          "no part of this version tells this class from others, so the rule could not be "
          "enforced");
    }
  }
  for (std::size_t i = 0; i < policy.consent.size(); ++i) {
    if (policy.consent[i].approvers.empty()) {
      add("/consent/" + std::to_string(i) + "/approvers", "nobody could ever approve");
    }
  }
  for (std::size_t i = 0; i < policy.releasable.size(); ++i) {
    const std::string where = "/secrets/releasable/" + std::to_string(i);
    for (std::size_t j = 0; j < i; ++j) {
      if (policy.releasable[i].name != policy.releasable[j].name) continue;
      const auto& earlier = policy.releasable[j].pools;
      if (std::any_of(policy.releasable[i].pools.begin(), policy.releasable[i].pools.end(),
                      [&](const auto& pool) { return Holds(earlier, pool); })) {
        add(where, "an earlier rule releases this name to the same pool");
        break;
      }
    }
  }
  return policy;
}

}  // namespace writ::plane
