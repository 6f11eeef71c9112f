// A run's contract and the plane's part of its chain (protocol.md section 2).
#include "matching.h"
#include "plane_impl.h"

namespace writ::plane {

Result<protocol::ChainHead> ChainHeadOf(store::Database& db, const std::string& run_id,
                                        const std::string& contract_hash) {
  protocol::ChainHead head;
  WRIT_ASSIGN(auto last, db.Ask("SELECT seq, ts, hash FROM events WHERE run_id = ? "
                                "ORDER BY seq DESC LIMIT 1",
                                run_id));
  WRIT_ASSIGN(bool any, last.Next());
  if (!any) {
    WRIT_ASSIGN(head.head, protocol::Digest::Parse(contract_hash));
    return head;
  }
  head.next_seq = static_cast<std::uint64_t>(last.Int(0)) + 1;
  head.last_ts = WallTime{last.Int(1)};
  WRIT_ASSIGN(head.head, protocol::Digest::Parse(last.Text(2)));
  return head;
}

Status InsertEvent(store::Database& db, const std::string& run_id, const protocol::Event& event) {
  WRIT_TRY(db.Do("INSERT INTO events (run_id, seq, ts, hash, body) VALUES (?,?,?,?,?)", run_id,
                 static_cast<std::int64_t>(event.seq), event.ts.unix_ms, event.hash.ToHex(),
                 json::Write(event.ToJson())));
  return KeepNamedBlob(db, run_id, event);
}

Status KeepWorkspaceBlobs(store::Database& db, const std::string& run_id,
                          const protocol::Manifest& workspace) {
  std::vector<protocol::Digest> blobs{workspace.bundle_hash};
  if (workspace.dirty_diff_hash) blobs.push_back(*workspace.dirty_diff_hash);
  for (const auto& file : workspace.untracked_files) blobs.push_back(file.hash);
  for (const auto& blob : blobs) {
    WRIT_TRY(
        db.Do("INSERT OR IGNORE INTO blob_refs (hash, run_id) VALUES (?,?)", blob.ToHex(), run_id));
  }
  return {};
}

Status KeepNamedBlob(store::Database& db, const std::string& run_id, const protocol::Event& event) {
  const bool artifact = event.type() == protocol::events::kArtifactCreated;
  const bool crossed = event.type() == protocol::events::kBoundaryCrossed;
  if (artifact || crossed) {
    auto hash = event.event.FindString(artifact ? "hash" : "contentHash");
    if (hash && protocol::Digest::Parse(*hash)) {
      WRIT_TRY(db.Do("INSERT OR IGNORE INTO blob_refs (hash, run_id) VALUES (?,?)", *hash, run_id));
    }
  }
  return {};
}

Result<std::vector<std::string>> EventTexts(store::Database& db, const std::string& run_id) {
  WRIT_ASSIGN(auto rows, db.Ask("SELECT body FROM events WHERE run_id = ? ORDER BY seq", run_id));
  std::vector<std::string> out;
  for (;;) {
    WRIT_ASSIGN(bool row, rows.Next());
    if (!row) return out;
    out.push_back(rows.Text(0));
  }
}

Result<protocol::Contract> IssueContract(const Plane::Impl& plane, const ContractInput& input) {
  WRIT_TRY(plane.CheckKeyInUse());
  protocol::Contract draft;
  WRIT_ASSIGN(draft.run_id, protocol::RunId::Parse(input.run_id));
  draft.issued_at = input.now;
  draft.expires_at = input.now + plane.config.contract_lifetime;
  draft.requested_by = input.request.requested_by.value();
  draft.approved_by = input.approved_by;
  draft.agent = input.request.agent;
  draft.prompt = input.request.prompt;
  draft.pool = input.request.pool;
  draft.workspace = input.request.workspace;
  WRIT_ASSIGN(draft.policy_hash, protocol::Digest::Parse(input.policy_hash));
  draft.secrets = input.decision.secrets;
  draft.network = input.request.network;
  draft.budget = input.decision.budget;
  draft.disclosure = input.request.disclosure;
  draft.execution = input.request.execution;
  if (!draft.execution) draft.execution = draft.EffectiveExecution();
  draft.isolation = input.request.isolation;
  draft.retry_of = input.retry_of;
  draft.trace = input.request.trace;
  draft.continuation = input.request.continuation;
  return protocol::SealContract(std::move(draft), plane.keys.plane);
}

Status BeginChain(store::Database& db, const protocol::Contract& contract,
                  const PolicyDecision& decision, WallTime now) {
  namespace events = protocol::events;
  const std::string run_id = contract.run_id.text();
  const auto hash = contract.Hash();
  WRIT_ASSIGN(int set,
              db.Run("UPDATE runs SET contract = ?, contract_hash = ?, expires_at = ?, "
                     "policy_hash = ?, wants = ? WHERE run_id = ? AND contract IS NULL",
                     json::Write(contract.raw), hash.ToHex(), contract.expires_at.unix_ms,
                     contract.policy_hash.ToHex(), RunWants::Of(contract).ToText(), run_id));
  if (set != 1) return StateConflict(run_id, "has a contract already");
  protocol::EventChain chain(hash);
  auto add = [&](json::Value event) {
    return InsertEvent(db, run_id, chain.Append(now, std::move(event)));
  };
  WRIT_TRY(add(events::RunCreated()));
  WRIT_TRY(add(events::PolicyEvaluated(VerdictWord(decision.verdict), decision.reason)));
  for (const auto& requirement : decision.requirements) {
    WRIT_TRY(add(events::ConsentRequested(requirement.word)));
  }
  for (const auto& actor : contract.approved_by) WRIT_TRY(add(events::ConsentGranted(actor)));
  return KeepWorkspaceBlobs(db, run_id, contract.workspace);
}

}  // namespace writ::plane
