#include "writ/protocol/receipt.h"

#include <algorithm>
#include <set>
#include <utility>

#include "writ/protocol/events.h"

namespace writ::protocol {
namespace {

constexpr json::TextRule kWord{.min_bytes = 1, .max_bytes = 512};
constexpr json::TextRule kHostText{.min_bytes = 1, .max_bytes = 1024};

template <typename T>
void AddDistinct(std::vector<T>& list, T item) {
  if (std::find(list.begin(), list.end(), item) == list.end()) list.push_back(std::move(item));
}

std::string TextOf(const json::Value& event, std::string_view name) {
  return std::string(event.FindString(name).value_or(""));
}

Digest DigestOf(const json::Value& event, std::string_view name) {
  return Digest::Parse(event.FindString(name).value_or("")).value_or(Digest());
}

}  // namespace

Result<Receipt> Receipt::Parse(const json::Value& value) {
  json::Issues issues;
  json::ObjectReader reader(issues, value);
  Receipt out;
  reader.Literal("version", kReceiptVersion);
  out.run_id = reader.As<RunId>("runId");
  out.contract_hash = reader.As<Digest>("contractHash");
  json::ObjectReader runner = reader.Child("runner");
  out.runner_id = runner.As<RunnerId>("runnerId");
  out.runner_key = runner.As<KeyId>("keyId");
  out.pool = runner.As<PoolName>("pool");
  out.attestation_tier = runner.String("attestationTier", kWord);
  out.isolation = runner.OptionalString("isolation", kWord);
  if (const json::Value* environment = runner.Find("environment")) {
    const json::ObjectReader must_be_object(issues, *environment, "/runner/environment");
    out.environment = *environment;
  }
  out.started_at = reader.Time("startedAt");
  out.ended_at = reader.Time("endedAt");
  out.status = reader.Enum("status", kRunStatusTable);
  out.events_head = reader.As<Digest>("eventsHead");
  out.event_count = static_cast<std::uint64_t>(reader.Integer("eventCount"));
  json::ObjectReader in = reader.Child("workspaceIn");
  out.base_ref = in.String("baseRef", {.max_bytes = 64});
  out.manifest_hash = in.As<Digest>("manifestHash");
  json::ObjectReader after = reader.Child("workspaceOut");
  if (const json::Value* diff = after.Find("diffHash"); diff != nullptr && *diff != json::Value(""))
    out.diff_hash = after.As<Digest>("diffHash");
  out.artifact_hashes = after.AllAs<Digest>("artifactHashes");
  reader.ForEachObject("secretsReleased", [&](json::ObjectReader& item) {
    SecretRelease release;
    release.name = item.As<SecretName>("name");
    release.scope = item.String("scope", kWord);
    release.ts = item.Time("ts");
    out.secrets_released.push_back(std::move(release));
  });
  reader.ForEachObject("networkAccessed", [&](json::ObjectReader& item) {
    NetworkAccess access;
    access.host = item.String("host", kHostText);
    access.decision = item.Enum("decision", kNetworkDecisionTable);
    out.network_accessed.push_back(std::move(access));
  });
  reader.ForEachObject("modelsUsed", [&](json::ObjectReader& item) {
    ModelUse use;
    use.provider = item.String("provider", kWord);
    use.model = item.String("model", kWord);
    out.models_used.push_back(std::move(use));
  });
  reader.ForEachObject("boundaryDisclosures", [&](json::ObjectReader& item) {
    BoundaryDisclosure disclosure;
    disclosure.direction = item.Enum("direction", kDirectionTable);
    disclosure.content_hash = item.As<Digest>("contentHash");
    disclosure.data_class = item.String("dataClass", kWord);
    out.boundary_disclosures.push_back(std::move(disclosure));
  });
  out.cost_usd = reader.OptionalNumber("costUsd", 0, 1e12);
  if (auto closed = reader.OptionalChild("closedBy")) {
    closed->Literal("kind", "plane");
    out.closed_by = ClosedByPlane{.reason = closed->Enum("reason", kCloseReasonTable),
                                  .last_seen = closed->Time("lastSeen")};
  }
  out.signatures = ReadSignatures(reader);
  WRIT_TRY(issues.ToStatus("the receipt"));
  out.raw = value;
  return out;
}

json::Value Receipt::BuildUnsigned() const {
  json::Object runner{{"runnerId", runner_id},
                      {"keyId", runner_key},
                      {"pool", pool},
                      {"attestationTier", attestation_tier}};
  runner.SetOptional("isolation", isolation);
  runner.SetOptional("environment", environment);
  json::Array artifacts, released, network, models, disclosures;
  for (const Digest& hash : artifact_hashes) artifacts.emplace_back(hash);
  for (const SecretRelease& r : secrets_released)
    released.push_back(
        json::Object{{"name", r.name}, {"scope", r.scope}, {"ts", FormatRfc3339(r.ts)}});
  for (const NetworkAccess& n : network_accessed)
    network.push_back(json::Object{{"host", n.host}, {"decision", Word(n.decision)}});
  for (const ModelUse& m : models_used)
    models.push_back(json::Object{{"provider", m.provider}, {"model", m.model}});
  for (const BoundaryDisclosure& b : boundary_disclosures) {
    disclosures.push_back(json::Object{{"direction", Word(b.direction)},
                                       {"contentHash", b.content_hash},
                                       {"dataClass", b.data_class}});
  }
  json::Object out{
      {"version", kReceiptVersion},
      {"runId", run_id},
      {"contractHash", contract_hash},
      {"runner", std::move(runner)},
      {"startedAt", FormatRfc3339(started_at)},
      {"endedAt", FormatRfc3339(ended_at)},
      {"status", Word(status)},
      {"eventsHead", events_head},
      {"eventCount", event_count},
      {"workspaceIn", json::Object{{"baseRef", base_ref}, {"manifestHash", manifest_hash}}},
      {"workspaceOut",
       json::Object{{"diffHash", diff_hash ? json::Value(*diff_hash) : json::Value("")},
                    {"artifactHashes", std::move(artifacts)}}},
      {"secretsReleased", std::move(released)},
      {"networkAccessed", std::move(network)},
      {"modelsUsed", std::move(models)},
      {"boundaryDisclosures", std::move(disclosures)}};
  out.SetOptional("costUsd", cost_usd);
  if (closed_by) {
    out.Set("closedBy", json::Object{{"kind", "plane"},
                                     {"reason", WordIn(kCloseReasonTable, closed_by->reason)},
                                     {"lastSeen", FormatRfc3339(closed_by->last_seen)}});
  }
  return out;
}

Digest Receipt::Hash() const {
  return HashWithout(raw.is_object() ? raw : BuildUnsigned(), "signatures");
}

EventSummary Summarize(std::span<const Event> events) {
  std::set<std::pair<std::string, NetworkDecision>> hosts;  // those in network_accessed
  EventSummary out;
  bool diff_told = false;
  for (const Event& entry : events) {
    const json::Value& event = entry.event;
    const std::string_view type = entry.type();
    if (type == events::kSecretReleased) {
      out.secrets_released.push_back(
          {SecretName::Parse(TextOf(event, "name")).value_or(SecretName()), TextOf(event, "scope"),
           entry.ts});
    } else if (type == events::kNetworkConnected) {
      NetworkAccess access{
          TextOf(event, "host"),
          ParseNetworkDecision(TextOf(event, "decision")).value_or(NetworkDecision::kBlocked)};
      // A hostile job chooses how many hosts there are: a set, not a search.
      if (hosts.emplace(access.host, access.decision).second)
        out.network_accessed.push_back(std::move(access));
    } else if (type == events::kModelCalled) {
      AddDistinct(out.models_used, {TextOf(event, "provider"), TextOf(event, "model")});
    } else if (type == events::kBoundaryCrossed) {
      out.boundary_disclosures.push_back(
          {ParseDirection(TextOf(event, "direction")).value_or(Direction::kOut),
           DigestOf(event, "contentHash"), TextOf(event, "dataClass")});
      // Of a run that takes the requester's own changes back nothing is left against the base: its
      // one diff is input -> final.
      const BoundaryDisclosure& told = out.boundary_disclosures.back();
      diff_told |= told.data_class == kDataClassCodeDiff;
      if (!diff_told && told.data_class == kDataClassCodeDelta &&
          out.first_diff == told.content_hash)
        out.first_diff.reset();
    } else if (type == events::kArtifactCreated) {
      out.artifact_hashes.push_back(DigestOf(event, "hash"));
      if (!out.first_diff && TextOf(event, "kind") == Word(ArtifactKind::kDiff))
        out.first_diff = out.artifact_hashes.back();
    }
  }
  if (!events.empty() && events.back().type().starts_with("run."))
    out.terminal = ParseRunStatus(events.back().type().substr(4));
  return out;
}

Result<Receipt> ReceiptFromEvents(const Contract& contract, std::span<const Event> events,
                                  const ReceiptFacts& facts) {
  EventSummary summary = Summarize(events);
  if (!summary.terminal) {
    return Error{.kind = ErrorKind::kInternal,
                 .code = "receipt.chain_not_terminal",
                 .message = "a receipt needs a chain that ends in a terminal event"};
  }
  Receipt out;
  out.run_id = contract.run_id;
  out.contract_hash = contract.Hash();
  out.runner_id = facts.runner_id;
  out.pool = facts.pool;
  out.attestation_tier = facts.attestation_tier;
  out.isolation = facts.isolation;
  out.environment = facts.environment;
  out.started_at = events.front().ts;
  out.ended_at = events.back().ts;
  out.status = *summary.terminal;
  out.events_head = events.back().hash;
  out.event_count = events.size();
  out.base_ref = contract.workspace.base_ref.text();
  out.manifest_hash = contract.ManifestHash();
  out.diff_hash = summary.first_diff;
  out.artifact_hashes = std::move(summary.artifact_hashes);
  out.secrets_released = std::move(summary.secrets_released);
  out.network_accessed = std::move(summary.network_accessed);
  out.models_used = std::move(summary.models_used);
  out.boundary_disclosures = std::move(summary.boundary_disclosures);
  out.cost_usd = facts.cost_usd;
  return out;
}

Status SignAsRunner(Receipt& receipt, const PrivateKey& runner_key) {
  receipt.runner_key = runner_key.Public().Id();
  json::Value value = receipt.BuildUnsigned();
  value.object().Set("signatures",
                     SignaturesToJson({SignDigest(runner_key, Signer::kRunner, HashValue(value))}));
  // Read back, so that no receipt is ever signed that our own reader would refuse.
  WRIT_ASSIGN(receipt, Receipt::Parse(value));
  return {};
}

Status CountersignAsPlane(Receipt& receipt, const PublicKey& runner, const PrivateKey& plane_key) {
  const Digest hash = receipt.Hash();
  if (receipt.runner_key != runner.Id() ||
      FindValidSignature(receipt.signatures, Signer::kRunner, runner, hash) == nullptr) {
    return Error{.kind = ErrorKind::kIntegrity,
                 .code = "receipt.runner_signature",
                 .message = "the receipt has no valid signature by the enrolled runner key"};
  }
  std::erase_if(receipt.signatures, [](const Signature& s) { return s.signer == Signer::kPlane; });
  receipt.signatures.push_back(SignDigest(plane_key, Signer::kPlane, hash));
  if (!receipt.raw.is_object()) receipt.raw = receipt.BuildUnsigned();
  receipt.raw.object().Set("signatures", SignaturesToJson(receipt.signatures));
  return {};
}

Status SignInPlaceOfRunner(Receipt& receipt, const PrivateKey& plane_key) {
  if (!receipt.closed_by || receipt.status == RunStatus::kCompleted) {
    return Error{.kind = ErrorKind::kInvalid,
                 .code = "receipt.not_closed",
                 .message = "a plane signs alone only what it closed itself, and never a success"};
  }
  json::Value value = receipt.BuildUnsigned();
  value.object().Set("signatures",
                     SignaturesToJson({SignDigest(plane_key, Signer::kPlane, HashValue(value))}));
  WRIT_ASSIGN(receipt, Receipt::Parse(value));
  return {};
}

}  // namespace writ::protocol
