// Runs whose runner was lost: closed by the plane, repeated where the contract allows it.
//
// Lost is an open run whose lease ran out longer ago than the grace, or that never had a lease and
// whose last claim token did, or whose runner was revoked. Closing and a late completion exclude
// each other: both are one compare-and-set on the same row (L39), so that there is one receipt.
#include "claim_access.h"
#include "writ/base/encoding.h"
#include "writ/base/fault.h"
#include "writ/base/log.h"
#include "writ/protocol/receipt.h"

namespace writ::plane {
namespace {

constexpr std::int64_t kPerSweep = 200;
// Nobody swept for longer: no plane was there, or its clock jumped.
constexpr std::chrono::milliseconds kAbsence{30'000};

// ?1: the moment a lease or token must have ended by; ?2: now. A lease runs out only while a plane
// serves (watched_at); where none does, a run that had one waits for its token and a day.
#define WRIT_LOST_RUNS                                                                       \
  "status IN ('claimed','provisioning','running') AND receipt IS NULL AND "                  \
  "((lease_until <= ?1 AND EXISTS (SELECT 1 FROM meta WHERE name = 'watched_at' AND "        \
  "CAST(value AS INTEGER) >= ?2 - 30000)) OR "                                               \
  "((lease_until IS NULL OR lease_until <= ?2) AND coalesce((SELECT max(t.expires_at) FROM " \
  "claim_tokens t WHERE t.run_id = runs.run_id), runs.updated_at) <= "                       \
  "iif(lease_until IS NULL, ?1, ?1 - 86400000)) OR "                                         \
  "runner_id IN (SELECT q.runner_id FROM runners q WHERE q.revoked_at IS NOT NULL))"

struct LostRun {
  std::string contract, contract_hash, request, submitted_by, runner_id, runner_key, status;
  std::int64_t attempt = 1;
  bool cancel_requested = false;
  bool revoked = false;
  WallTime last_seen;
  std::vector<std::string> events;
};

Result<std::optional<LostRun>> Find(store::Database& db, const std::string& run_id, WallTime now,
                                    std::chrono::milliseconds grace) {
  WRIT_ASSIGN(auto row,
              db.Ask("SELECT contract, contract_hash, request, submitted_by, runner_id, "
                     "runner_key, status, attempt, cancel_actor IS NOT NULL, "
                     "EXISTS (SELECT 1 FROM runners q WHERE q.runner_id = runs.runner_id AND "
                     "q.revoked_at IS NOT NULL), coalesce(seen_at, updated_at) FROM runs WHERE "
                     "run_id = ?3 AND " WRIT_LOST_RUNS,
                     now.unix_ms - grace.count(), now.unix_ms, run_id));
  WRIT_ASSIGN(bool any, row.Next());
  if (!any) return std::optional<LostRun>{};
  LostRun out{.contract = row.Text(0),
              .contract_hash = row.Text(1),
              .request = row.Text(2),
              .submitted_by = row.Text(3),
              .runner_id = row.Text(4),
              .runner_key = row.Text(5),
              .status = row.Text(6),
              .attempt = row.Int(7),
              .cancel_requested = row.Int(8) != 0,
              .revoked = row.Int(9) != 0,
              .last_seen = WallTime{row.Int(10)},
              .events = {}};
  WRIT_ASSIGN(out.events, EventTexts(db, run_id));
  return std::optional(std::move(out));
}

// The run that repeats a lost one: everything that can be made before the transaction.
struct Retry {
  std::string run_id;
  ParsedRunRequest parsed;
  PolicyDecision decision;
  std::string policy_hash;
  std::string of;
};

Result<std::optional<Retry>> PlanRetry(Plane::Impl& plane, const protocol::Contract& contract,
                                       const LostRun& lost) {
  const bool may = contract.EffectiveExecution().idempotent && !lost.cancel_requested &&
                   lost.attempt < static_cast<std::int64_t>(plane.config.lease.max_attempts);
  if (!may) return std::optional<Retry>{};
  Retry retry{.run_id = "run_" + RandomUuid(),
              .parsed = {},
              .decision = {},
              .policy_hash = {},
              .of = contract.run_id.text()};
  WRIT_ASSIGN(retry.parsed,
              ParseRunRequest("{\"request\":" + lost.request + "}", plane.config.max_json_bytes));
  if (!retry.parsed.issues.empty()) return std::optional<Retry>{};
  WRIT_ASSIGN(auto policy, plane.Policy());
  retry.policy_hash = policy->hash;
  retry.decision = Evaluate(policy->policy, retry.parsed.request, plane.config.open_network);
  if (retry.decision.verdict == PolicyDecision::Verdict::kDeny) return std::optional<Retry>{};
  return std::optional(std::move(retry));
}

Status WriteRetry(const Plane::Impl& plane, store::Database& db, const Retry& retry,
                  const LostRun& lost, WallTime now) {
  WRIT_ASSIGN(auto of, protocol::RunId::Parse(retry.of));
  const ContractInput input{.run_id = retry.run_id,
                            .now = now,
                            .request = retry.parsed.request,
                            .decision = retry.decision,
                            .policy_hash = retry.policy_hash,
                            .approved_by = {},
                            .retry_of = of};
  WRIT_TRY(InsertRun(db, {input, retry.parsed.raw, lost.submitted_by,
                          now + plane.config.approval_timeout, lost.attempt + 1}));
  // Where policy asks for consent it is asked again: it was given for another contract.
  if (retry.decision.verdict == PolicyDecision::Verdict::kAsk) return {};
  WRIT_ASSIGN(auto contract, IssueContract(plane, input));
  return BeginChain(db, contract, retry.decision, now);
}

std::string Sentence(const LostRun& lost, std::string_view last_event,
                     const std::optional<Retry>& retry) {
  std::string out = lost.revoked ? "the runner was revoked during the run"
                                 : "the runner was not heard of since " +
                                       FormatRfc3339(lost.last_seen) + " and its lease ran out";
  if (protocol::events::IsTerminalType(last_event)) {
    out += "; it had written " + std::string(last_event) + " and sent no receipt";
  }
  if (retry) out += "; repeated as " + retry->run_id;
  return out;
}

// What the plane signs for a chain that it did not write all of.
Result<protocol::Receipt> SignFor(const Plane::Impl& plane, const protocol::Contract& contract,
                                  const std::vector<protocol::Event>& chain, const LostRun& lost) {
  protocol::ReceiptFacts facts;
  WRIT_ASSIGN(facts.runner_id, protocol::RunnerId::Parse(lost.runner_id));
  facts.pool = contract.pool;
  WRIT_ASSIGN(auto receipt, protocol::ReceiptFromEvents(contract, chain, facts));
  WRIT_ASSIGN(auto runner_key, protocol::PublicKey::FromPem(lost.runner_key));
  receipt.runner_key = runner_key.Id();
  receipt.closed_by = protocol::ClosedByPlane{
      lost.revoked ? protocol::CloseReason::kRunnerRevoked : protocol::CloseReason::kLeaseExpired,
      lost.last_seen};
  // By the key that issued the contract; without it by the one in use: it must be closed.
  const protocol::PrivateKey* issuer = plane.keys.PrivateOf(contract.issuer_key);
  const protocol::PrivateKey& key = issuer != nullptr ? *issuer : plane.keys.plane;
  protocol::Receipt whole = receipt;
  if (protocol::SignInPlaceOfRunner(whole, key)) return whole;
  // Events that no receipt can sum up (a host that is no text, say) must not keep the run open: it
  // is closed without the sums, and a verifier says what does not agree.
  receipt.network_accessed.clear();
  receipt.models_used.clear();
  receipt.boundary_disclosures.clear();
  WRIT_TRY(protocol::SignInPlaceOfRunner(receipt, key));
  return receipt;
}

}  // namespace

Status Plane::Impl::CloseLost(const std::string& run_id) {
  const WallTime now = clock.Now();
  const auto grace = config.lease.grace;
  WRIT_ASSIGN(auto lost,
              store->Read([&](store::Database& db) { return Find(db, run_id, now, grace); }));
  if (!lost) return {};
  WRIT_ASSIGN(json::Value contract_value, json::Parse(lost->contract));
  WRIT_ASSIGN(auto contract, protocol::Contract::Parse(contract_value));
  std::vector<protocol::Event> events;
  for (const auto& text : lost->events) {
    WRIT_ASSIGN(auto value, json::Parse(text));
    WRIT_ASSIGN(auto event, protocol::Event::Parse(value));
    events.push_back(std::move(event));
  }
  WRIT_ASSIGN(auto retry, PlanRetry(*this, contract, *lost));
  const std::size_t open_events = events.size();
  const std::string_view last = events.empty() ? std::string_view() : events.back().type();
  const std::string sentence = Sentence(*lost, last, retry);
  WRIT_ASSIGN(auto chain, protocol::EventChain::FromEvents(contract.Hash(), events));
  if (retry) {
    WRIT_ASSIGN(auto as, protocol::RunId::Parse(retry->run_id));
    events.push_back(chain.Append(now, protocol::events::RunRequeued(as)));
  }
  events.push_back(chain.Append(
      now, protocol::events::RunFailed(protocol::FailureClass::kSessionFailed, sentence)));
  WRIT_ASSIGN(auto receipt, SignFor(*this, contract, events, *lost));
  const std::string receipt_text = json::Write(receipt.raw);
  WRIT_FAULT_TRY("plane.lost.signed");
  bool closed = false;
  WRIT_TRY(store->Write([&](store::Database& db) -> Status {
    closed = false;
    // As it was when the receipt was made: not renewed, not completed, no event more.
    WRIT_ASSIGN(auto still, Find(db, run_id, clock.Now(), grace));
    if (!still || still->events.size() != open_events || still->status != lost->status ||
        still->revoked != lost->revoked || still->cancel_requested != lost->cancel_requested) {
      return {};
    }
    for (std::size_t i = open_events; i < events.size(); ++i) {
      WRIT_TRY(InsertEvent(db, run_id, events[i]));
    }
    WRIT_ASSIGN(int moved,
                db.Run("UPDATE runs SET status = 'failed', receipt = ?1, closed_reason = ?2, "
                       "open_events = ?3, failure = ?4, retried_as = ?5, "
                       "updated_at = max(?6, updated_at + 1) WHERE run_id = ?7 AND status = ?8 "
                       "AND receipt IS NULL",
                       receipt_text, lost->revoked ? kClosedRunnerRevoked : kClosedLeaseExpired,
                       open_events, sentence, retry ? std::optional(retry->run_id) : std::nullopt,
                       now.unix_ms, run_id, lost->status));
    if (moved != 1) return StateConflict(run_id, "has changed meanwhile");
    closed = true;
    return retry ? WriteRetry(*this, db, *retry, *lost, now) : Status{};
  }));
  if (!closed) return {};
  WRIT_FAULT_TRY("plane.lost.committed");
  changed.Notify();
  if (retry) queue->NotifyAll();
  metrics->Add(Family::kReceipts, {{"kind", "plane"}});
  metrics->Add(Family::kRunsEnded, {{"status", "failed"}, {"by", "lost"}});
  log::Warn("plane.run_lost", sentence, {{"run", run_id}, {"runner", lost->runner_id}});
  return {};
}

Status Plane::Impl::CloseLostRuns() {
  const WallTime now = clock.Now();
  std::vector<std::string> lost;
  WRIT_TRY(store->Read([&](store::Database& db) -> Status {
    WRIT_ASSIGN(auto rows,
                db.Ask("SELECT run_id FROM runs WHERE " WRIT_LOST_RUNS " LIMIT ?3",
                       now.unix_ms - config.lease.grace.count(), now.unix_ms, kPerSweep));
    for (;;) {
      WRIT_ASSIGN(bool row, rows.Next());
      if (!row) return {};
      lost.push_back(rows.Text(0));
    }
  }));
  for (const auto& run : lost) {
    // One that cannot be closed now must not keep the others open.
    if (auto done = CloseLost(run); !done) {
      log::Error("plane.close_lost", done.error().ToString(), {{"run", run}});
    }
  }
  return {};
}

Status Plane::SweepLeases() {
  const WallTime now = impl_->clock.Now();
  struct Watch {
    bool open = false;
    std::optional<std::int64_t> before;
  };
  WRIT_ASSIGN(Watch watch, impl_->store->Read([&](store::Database& db) -> Result<Watch> {
    Watch out;
    WRIT_ASSIGN(auto open, db.Number("SELECT 1 FROM runs WHERE status IN "
                                     "('claimed','provisioning','running') LIMIT 1"));
    out.open = open.has_value();
    WRIT_ASSIGN(out.before,
                db.Number("SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'watched_at'"));
    return out;
  }));
  impl_->NoteKeyTime();
  if (!watch.open) return {};
  const bool absent = !watch.before || now.unix_ms - *watch.before > kAbsence.count() ||
                      now.unix_ms < *watch.before;
  WRIT_TRY(impl_->store->Write([&](store::Database& db) -> Status {
    WRIT_TRY(
        db.Do("INSERT INTO meta (name, value) VALUES ('watched_at', ?) "
              "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
              std::to_string(now.unix_ms)));
    if (!absent) return {};
    // No runner could renew while no plane was there: each begins a lease anew.
    WRIT_TRY(
        db.Do("UPDATE runs SET lease_until = ? WHERE lease_until IS NOT NULL AND status "
              "IN ('claimed','provisioning','running')",
              (now + impl_->config.lease.lease).unix_ms));
    return {};
  }));
  return impl_->CloseLostRuns();
}

}  // namespace writ::plane
