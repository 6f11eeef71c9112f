// Late receipts: what a runner finished after the plane had closed its run. Kept beside the plane's
// receipt, never instead of it, and never countersigned: there is one receipt per claim.
#include "claim_access.h"
#include "writ/base/fault.h"
#include "writ/base/log.h"
#include "writ/protocol/bundle.h"

namespace writ::plane {
namespace {

Error Refused(std::string why) {
  return Error{.kind = ErrorKind::kInvalid,
               .code = "late.rejected",
               .message = "late receipt rejected: " + std::move(why)};
}

struct Closed {
  ClaimedRun run;
  std::int64_t open_events = 0;
  std::string late_receipt;
  std::vector<std::string> events;
};

Result<Closed> FindClosed(store::Database& db, const std::string& run_id) {
  Closed out;
  WRIT_ASSIGN(out.run, FindRun(db, run_id));
  if (out.run.closed_reason.empty()) {
    return Error{
        .kind = ErrorKind::kConflict,
        .code = "run.not_closed",
        .message = "run " + run_id + " is " + out.run.status + " and was not closed by the plane"};
  }
  WRIT_ASSIGN(auto open, db.Number("SELECT open_events FROM runs WHERE run_id = ?", run_id));
  out.open_events = open.value_or(0);
  WRIT_ASSIGN(auto late, db.Value("SELECT receipt FROM late_receipts WHERE run_id = ?", run_id));
  out.late_receipt = late.value_or("");
  WRIT_ASSIGN(out.events, EventTexts(db, run_id));
  return out;
}

// The chain as the runner has it: what the plane had before it closed the run, and the rest.
Result<std::vector<protocol::Event>> WholeChain(const Closed& closed, const json::Value& events) {
  auto sent = protocol::Event::ParseAll(events);
  if (!sent) return Refused("invalid events: " + sent.error().message);
  std::vector<protocol::Event> chain;
  for (std::int64_t i = 0; i < closed.open_events; ++i) {
    WRIT_ASSIGN(auto value, json::Parse(closed.events[static_cast<std::size_t>(i)]));
    WRIT_ASSIGN(auto event, protocol::Event::Parse(value));
    chain.push_back(std::move(event));
  }
  for (const auto& event : *sent) {
    if (event.seq < chain.size()) {
      if (event.hash != chain[event.seq].hash || event.ComputeHash() != event.hash)
        return Refused("event " + std::to_string(event.seq) + " is not the one that is stored");
      continue;
    }
    if (WrittenByPlaneOnly(event.type()))
      return Refused(std::string(event.type()) + " is written by the plane only");
    if (!chain.empty() && event.ts < chain.back().ts) return Refused("time runs backwards");
    chain.push_back(event);
  }
  return chain;
}

}  // namespace

Status Plane::Late(const std::string& run_id, const LateReceipt& late) {
  WRIT_ASSIGN(auto runner, AuthenticateRunner(*impl_, late.runner_token));
  if (!late.claim_token.empty()) {
    WRIT_ASSIGN(auto facts, CheckClaimToken(*impl_, late.claim_token, run_id));
    if (facts.runner_id != runner.runner_id) return Unauthorized("claim token runner mismatch");
  }
  WRIT_ASSIGN(Closed closed,
              impl_->store->Read([&](store::Database& db) { return FindClosed(db, run_id); }));
  if (closed.run.runner_id != runner.runner_id) return RunNotFound();
  auto receipt = protocol::Receipt::Parse(late.receipt);
  if (!receipt) return Refused(receipt.error().message);
  auto same = [&](const std::string& stored) {
    auto value = json::Parse(stored);
    return value && protocol::HashWithout(*value, "signatures") == receipt->Hash();
  };
  const Error other{.kind = ErrorKind::kConflict,
                    .code = "late.stored",
                    .message = "run " + run_id + " has another late receipt already"};
  if (!closed.late_receipt.empty()) return same(closed.late_receipt) ? Status() : Status(other);
  if (receipt->runner_id.text() != runner.runner_id) return Refused("it is of another runner");
  if (receipt->closed_by) return Refused("only the plane closes a run in a runner's place");
  if (receipt->signatures.size() != 1)
    return Refused("it must have exactly the runner's signature");
  WRIT_ASSIGN(auto chain, WholeChain(closed, late.events));
  WRIT_ASSIGN(json::Value contract_value, json::Parse(closed.run.contract));
  WRIT_ASSIGN(auto contract, protocol::Contract::Parse(contract_value));
  WRIT_ASSIGN(auto runner_key, protocol::PublicKey::FromPem(closed.run.runner_key));
  WRIT_ASSIGN(auto plane_key, impl_->keys.PublicOf(contract.issuer_key));
  // Everything that an offline verifier asks, but for the countersignature that it never gets.
  auto report = protocol::VerifyBundleValue(
      protocol::BuildBundle(contract, *receipt, chain, {plane_key, runner_key, std::nullopt}));
  std::string why;
  for (const auto& problem : report.problems) {
    if (problem.code == "receipt.plane_signature") continue;
    why += (why.empty() ? "" : "; ") + problem.code + ": " + problem.message;
    if (why.size() > 2000) break;
  }
  if (!why.empty()) return Refused(why);
  std::string events;
  for (auto i = static_cast<std::size_t>(closed.open_events); i < chain.size(); ++i) {
    events += (events.empty() ? "" : ",") + json::Write(chain[i].ToJson());
  }
  WRIT_TRY(impl_->store->Write([&](store::Database& db) -> Status {
    WRIT_TRY(CheckRunnerNotRevoked(db, runner.runner_id));
    WRIT_ASSIGN(auto before,
                db.Value("SELECT receipt FROM late_receipts WHERE run_id = ?", run_id));
    if (before) return same(*before) ? Status() : Status(other);
    WRIT_TRY(
        db.Do("INSERT INTO late_receipts (run_id, receipt, events, received_at) "
              "VALUES (?,?,?,?)",
              run_id, json::Write(receipt->raw), events, impl_->clock.Now().unix_ms));
    for (auto i = static_cast<std::size_t>(closed.open_events); i < chain.size(); ++i) {
      WRIT_TRY(KeepNamedBlob(db, run_id, chain[i]));
    }
    WRIT_TRY(
        db.Do("UPDATE runs SET updated_at = max(?, updated_at + 1) "
              "WHERE run_id = ?",
              impl_->clock.Now().unix_ms, run_id));
    return {};
  }));
  WRIT_FAULT_TRY("plane.late.committed");
  impl_->changed.Notify();
  impl_->metrics->Add(Family::kReceipts, {{"kind", "late"}});
  log::Info("plane.late_receipt", "what a lost runner had finished came after all",
            {{"run", run_id}, {"runner", runner.runner_id}});
  return {};
}

}  // namespace writ::plane
