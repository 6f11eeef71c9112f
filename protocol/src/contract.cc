#include "writ/protocol/contract.h"

#include <algorithm>

namespace writ::protocol {
namespace {

constexpr json::TextRule kShortText{.min_bytes = 1, .max_bytes = 512};
constexpr json::TextRule kPrompt{.min_bytes = 1, .max_bytes = 1 << 20};

}  // namespace

bool IsTraceparent(std::string_view text) {
  if (text.size() != 55 || !text.starts_with("00-") || text[35] != '-' || text[52] != '-')
    return false;
  auto is_hex = [](std::string_view part) {
    return part.find_first_not_of("0123456789abcdef") == std::string_view::npos;
  };
  const std::string_view trace = text.substr(3, 32), parent = text.substr(36, 16);
  return is_hex(trace) && is_hex(parent) && is_hex(text.substr(53)) &&
         trace.find_first_not_of('0') != std::string_view::npos &&
         parent.find_first_not_of('0') != std::string_view::npos;
}

json::Value Actor::ToJson() const {
  return json::Object{{"kind", Word(kind)}, {"id", id}};
}

Actor Actor::Read(json::ObjectReader reader) {
  Actor actor;
  actor.kind = reader.Enum("kind", kActorKindTable);
  actor.id = reader.String("id", kShortText);
  return actor;
}

json::Value NetworkSpec::ToJson() const {
  json::Array hosts;
  for (const AllowedHost& host : allow_hosts) hosts.emplace_back(host);
  return json::Object{{"defaultDeny", default_deny}, {"allowHosts", std::move(hosts)}};
}

NetworkSpec NetworkSpec::Read(json::ObjectReader reader) {
  NetworkSpec network;
  network.default_deny = reader.Bool("defaultDeny");
  network.allow_hosts = reader.AllAs<AllowedHost>("allowHosts");
  reader.RefuseUnknown();  // a network word that is not understood is not enforced (L4)
  return network;
}

json::Value Budget::ToJson() const {
  json::Object out;
  out.SetOptional("maxSpendUsd", max_spend_usd);
  out.SetOptional("maxDurationMin", max_duration_min);
  return out;
}

Budget Budget::Read(json::ObjectReader reader) {
  Budget budget;
  budget.max_spend_usd = reader.OptionalNumber("maxSpendUsd", 0, 1e9);
  budget.max_duration_min = reader.OptionalNumber("maxDurationMin", 0, 1e6);
  reader.RefuseUnknown();
  return budget;
}

Result<Contract> Contract::Parse(const json::Value& value) {
  json::Issues issues;
  json::ObjectReader reader(issues, value);
  Contract out;
  reader.Literal("version", kContractVersion);
  out.run_id = reader.As<RunId>("runId");
  out.issued_at = reader.Time("issuedAt");
  json::ObjectReader issuer = reader.Child("issuer");
  out.issuer_key = issuer.As<KeyId>("keyId");
  out.issuer_role = issuer.String("role", kShortText);
  out.requested_by = Actor::Read(reader.Child("requestedBy"));
  if (reader.Has("approvedBy")) {
    reader.ForEachObject(
        "approvedBy",
        [&](json::ObjectReader& item) { out.approved_by.push_back(Actor::Read(item)); }, 100);
  }
  out.agent = AgentSpec::Read(reader.Child("agent"));
  out.prompt = reader.Child("task").String("prompt", kPrompt);
  out.pool = reader.Child("runner").As<PoolName>("pool");
  if (const json::Value* workspace = reader.Require("workspace")) {
    out.workspace =
        Manifest::Read(json::ObjectReader(issues, *workspace, "/workspace"), *workspace);
  }
  out.policy_hash = reader.As<Digest>("policyHash");
  reader.ForEachObject(
      "secrets",
      [&](json::ObjectReader& item) {
        SecretGrant grant;
        grant.name = item.As<SecretName>("name");
        grant.scope = item.String("scope", kShortText);
        out.secrets.push_back(std::move(grant));
      },
      1000);
  out.network = NetworkSpec::Read(reader.Child("network"));
  out.budget = Budget::Read(reader.Child("budget"));
  out.disclosure = reader.Enum("disclosure", kDisclosureTable);
  if (const json::Value* execution = reader.Find("execution")) {
    out.execution =
        Execution::Read(json::ObjectReader(issues, *execution, "/execution"), *execution);
  }
  out.isolation = reader.OptionalString("isolation", {.min_bytes = 1, .max_bytes = 64});
  if (auto continuation = reader.OptionalChild("continuation")) {
    out.continuation =
        Continuation{.envelope_hash = continuation->As<Digest>("envelopeHash"),
                     .checkpoint_id = continuation->String("checkpointId", kShortText),
                     .tier = continuation->String("tier", kShortText)};
  }
  out.retry_of = reader.OptionalAs<RunId>("retryOf");
  if (auto trace = reader.OptionalChild("trace")) {
    out.trace = TraceContext{trace->String(
        "traceparent", {.pattern = IsTraceparent, .pattern_words = "a W3C traceparent"})};
  }
  out.expires_at = reader.Time("expiresAt");
  out.signatures = ReadSignatures(reader);
  WRIT_TRY(issues.ToStatus("the contract"));
  out.raw = value;
  return out;
}

json::Value Contract::BuildUnsigned() const {
  json::Object out{{"version", kContractVersion},
                   {"runId", run_id},
                   {"issuedAt", FormatRfc3339(issued_at)},
                   {"issuer", json::Object{{"keyId", issuer_key}, {"role", issuer_role}}},
                   {"requestedBy", requested_by.ToJson()}};
  if (!approved_by.empty()) {
    json::Array actors;
    for (const Actor& actor : approved_by) actors.push_back(actor.ToJson());
    out.Set("approvedBy", std::move(actors));
  }
  out.Set("agent", agent.ToJson())
      .Set("task", json::Object{{"prompt", prompt}})
      .Set("runner", json::Object{{"pool", pool}});
  out.Set("workspace", workspace.ToJson()).Set("policyHash", policy_hash);
  json::Array grants;
  for (const SecretGrant& grant : secrets)
    grants.push_back(json::Object{{"name", grant.name}, {"scope", grant.scope}});
  out.Set("secrets", std::move(grants))
      .Set("network", network.ToJson())
      .Set("budget", budget.ToJson());
  out.Set("disclosure", Word(disclosure));
  if (execution) out.Set("execution", execution->ToJson());
  out.SetOptional("isolation", isolation);
  if (continuation) {
    out.Set("continuation", json::Object{{"envelopeHash", continuation->envelope_hash},
                                         {"checkpointId", continuation->checkpoint_id},
                                         {"tier", continuation->tier}});
  }
  out.SetOptional("retryOf", retry_of);
  if (trace) out.Set("trace", json::Object{{"traceparent", trace->traceparent}});
  out.Set("expiresAt", FormatRfc3339(expires_at));
  return out;
}

Digest Contract::Hash() const {
  return HashWithout(raw.is_object() ? raw : BuildUnsigned(), "signatures");
}

Execution Contract::EffectiveExecution() const {
  if (execution) return *execution;
  Execution out;
  if (agent.kind.text() == "command") {
    out.kind = Execution::Kind::kShell;
    out.script = prompt;
  } else {
    out.kind = Execution::Kind::kAgent;
    out.agent = agent;
    out.prompt = prompt;
  }
  return out;
}

std::string Contract::NeededAgent() const {
  if (const Execution run = EffectiveExecution(); run.kind == Execution::Kind::kAgent)
    return run.agent.kind.text();
  return agent.version ? agent.kind.text() : std::string();
}

Result<Contract> SealContract(Contract draft, const PrivateKey& plane_key) {
  draft.issuer_key = plane_key.Public().Id();
  draft.issuer_role = "plane";
  json::Value value = draft.BuildUnsigned();
  const Signature signature = SignDigest(plane_key, Signer::kPlane, HashValue(value));
  value.object().Set("signatures", SignaturesToJson({signature}));
  return Contract::Parse(value);
}

Status CheckForRun(const Contract& contract, const ContractExpectations& expected) {
  if (expected.plane_key == nullptr) {
    return Error{.kind = ErrorKind::kInternal,
                 .code = "contract.no_key",
                 .message = "a contract is checked against a pinned plane key, and none was given"};
  }
  if (contract.issuer_key != expected.plane_key->Id()) {
    return Error{.kind = ErrorKind::kIntegrity,
                 .code = "contract.issuer",
                 .message = "the contract names the key " + contract.issuer_key.text() +
                            ", the pinned plane key is " + expected.plane_key->Id().text(),
                 .hint = "check the runner's plane key file against the plane's key"};
  }
  if (FindValidSignature(contract.signatures, Signer::kPlane, *expected.plane_key,
                         contract.Hash()) == nullptr) {
    return Error{.kind = ErrorKind::kIntegrity,
                 .code = "contract.signature",
                 .message = "the contract has no valid signature by the pinned plane key"};
  }
  if (expected.run_id && *expected.run_id != contract.run_id) {
    return Error{.kind = ErrorKind::kIntegrity,
                 .code = "contract.run_id",
                 .message = "the contract is for another run than the claim"};
  }
  if (contract.pool != expected.pool) {
    return Error{.kind = ErrorKind::kDenied,
                 .code = "contract.pool",
                 .message = "the contract is for the pool " + contract.pool.text() + ", not for " +
                            expected.pool.text()};
  }
  if (expected.now >= contract.expires_at) {
    return Error{.kind = ErrorKind::kDenied,
                 .code = "contract.expired",
                 .message = "the contract expired at " + FormatRfc3339(contract.expires_at) +
                            ", it is " + FormatRfc3339(expected.now),
                 .hint = "request the run again, or check this machine's clock"};
  }
  return {};
}

}  // namespace writ::protocol
