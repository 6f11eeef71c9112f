#include "writ/protocol/policy.h"

namespace writ::protocol {
namespace {

constexpr json::TextRule kText{.min_bytes = 1, .max_bytes = 512};

template <typename T>
json::Value NamesToJson(const std::vector<T>& names) {
  json::Array out;
  for (const T& name : names) out.emplace_back(name);
  return out;
}

}  // namespace

Result<Policy> Policy::Parse(const json::Value& value) {
  json::Issues issues;
  Policy out = Read(issues, value);
  WRIT_TRY(issues.ToStatus("the policy"));
  return out;
}

Policy Policy::Read(json::Issues& issues, const json::Value& value) {
  json::ObjectReader reader(issues, value);
  Policy out;
  reader.Literal("version", kPolicyVersion);
  json::ObjectReader runners = reader.Child("runners");
  out.allow_pools = runners.AllAs<PoolName>("allowPools");
  runners.RefuseUnknown();
  json::ObjectReader agents = reader.Child("agents");
  out.allow_agents = agents.AllAs<AgentKind>("allow");
  agents.RefuseUnknown();
  reader.ForEachObject("dataClasses", [&](json::ObjectReader& item) {
    DataClassRule rule;
    rule.data_class = item.String("dataClass", kText);
    rule.allow_pools = item.AllAs<PoolName>("allowPools");
    item.RefuseUnknown();
    out.data_classes.push_back(std::move(rule));
  });
  out.network = NetworkSpec::Read(reader.Child("network"));
  json::ObjectReader secrets = reader.Child("secrets");
  secrets.ForEachObject("releasable", [&](json::ObjectReader& item) {
    ReleasableSecret secret;
    secret.name = item.As<SecretName>("name");
    secret.scope = item.String("scope", kText);
    secret.pools = item.AllAs<PoolName>("pools");
    item.RefuseUnknown();
    out.releasable.push_back(std::move(secret));
  });
  secrets.RefuseUnknown();
  out.budget = Budget::Read(reader.Child("budget"));
  reader.ForEachObject("consent", [&](json::ObjectReader& item) {
    ConsentRule rule;
    rule.when = item.Enum("when", kConsentWhenTable);
    rule.match = item.OptionalString("match", kText);
    rule.approvers = item.Strings("approvers", kText);
    if (rule.when == ConsentWhen::kAgentKind && !rule.match) {
      issues.Add("policy.consent_match", item.PointerOf("match"),
                 "is required where \"when\" is agent-kind");
    }
    if (rule.when == ConsentWhen::kAnyRun && rule.match) {
      issues.Add("policy.consent_match", item.PointerOf("match"),
                 "means nothing where \"when\" is any-run");
    }
    item.RefuseUnknown();
    out.consent.push_back(std::move(rule));
  });
  json::ObjectReader retention = reader.Child("retention");
  out.receipts_days = retention.Integer("receiptsDays", 1, 36500);
  out.artifacts_days = retention.Integer("artifactsDays", 1, 36500);
  retention.RefuseUnknown();
  reader.RefuseUnknown();
  out.raw = value;
  return out;
}

json::Value Policy::ToJson() const {
  if (raw.is_object()) return raw;
  json::Array classes, secrets, rules;
  for (const DataClassRule& rule : data_classes) {
    classes.push_back(json::Object{{"dataClass", rule.data_class},
                                   {"allowPools", NamesToJson(rule.allow_pools)}});
  }
  for (const ReleasableSecret& secret : releasable) {
    secrets.push_back(json::Object{
        {"name", secret.name}, {"scope", secret.scope}, {"pools", NamesToJson(secret.pools)}});
  }
  for (const ConsentRule& rule : consent) {
    json::Object item{{"when", WordIn(kConsentWhenTable, rule.when)}};
    item.SetOptional("match", rule.match);
    item.Set("approvers", json::Value::Texts(rule.approvers));
    rules.push_back(std::move(item));
  }
  return json::Object{{"version", kPolicyVersion},
                      {"runners", json::Object{{"allowPools", NamesToJson(allow_pools)}}},
                      {"agents", json::Object{{"allow", NamesToJson(allow_agents)}}},
                      {"dataClasses", std::move(classes)},
                      {"network", network.ToJson()},
                      {"secrets", json::Object{{"releasable", std::move(secrets)}}},
                      {"budget", budget.ToJson()},
                      {"consent", std::move(rules)},
                      {"retention", json::Object{{"receiptsDays", receipts_days},
                                                 {"artifactsDays", artifacts_days}}}};
}

Digest Policy::Hash() const {
  return HashValue(ToJson());
}

}  // namespace writ::protocol
