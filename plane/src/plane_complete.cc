// What a runner sends back: events, the receipt, live output.
#include "claim_access.h"
#include "writ/base/fault.h"
#include "writ/base/log.h"
#include "writ/protocol/bundle.h"

namespace writ::plane {

namespace events = protocol::events;

bool WrittenByPlaneOnly(std::string_view type) {
  return type == events::kRunCreated || type == events::kRunClaimed ||
         type == events::kPolicyEvaluated || type == events::kConsentRequested ||
         type == events::kConsentGranted || type == events::kSecretReleased ||
         type == events::kRunRequeued;
}

namespace {

std::string WordsFor(const Error& error) {
  if (error.code == "chain.sequence_gap") return "sequence gap";
  if (error.code == "chain.prev_mismatch") return "prev mismatch";
  if (error.code == "chain.hash_mismatch") return "hash mismatch";
  return error.message;
}

Error Rejected(std::string message) {
  return Error{.kind = ErrorKind::kInvalid,
               .code = "receipt.rejected",
               .message = "receipt rejected: " + std::move(message)};
}

}  // namespace

Result<EventsAnswer> Plane::AppendEvents(const std::string& run_id, std::string_view claim_token,
                                         const json::Value& events_value) {
  WRIT_ASSIGN(auto facts, CheckClaimToken(*impl_, claim_token, run_id));
  WRIT_TRY(CheckExpiry(*impl_, facts));
  auto batch = protocol::Event::ParseAll(events_value);
  if (!batch) {
    Error error = std::move(batch).error();
    error.kind = ErrorKind::kInvalid;
    error.message = "invalid events: " + error.message;
    return error;
  }
  EventsAnswer answer;
  WRIT_TRY(impl_->store->Write([&](store::Database& db) -> Status {
    WRIT_TRY(CheckRunnerNotRevoked(db, facts.runner_id));
    WRIT_ASSIGN(ClaimedRun run, FindRun(db, run_id));
    if (run.runner_id != facts.runner_id) return Unauthorized("claim token runner mismatch");
    WRIT_TRY(CheckLedger(db, facts));
    if (!run.closed_reason.empty()) return RunEnded(run_id, run);
    WRIT_ASSIGN(auto head, ChainHeadOf(db, run_id, run.contract_hash));
    protocol::EventChain chain(head);
    WRIT_ASSIGN(
        auto ended,
        db.Value("SELECT body FROM events WHERE run_id = ? ORDER BY seq DESC LIMIT 1", run_id));
    bool terminal = false;
    if (ended) {
      WRIT_ASSIGN(auto last, json::Parse(*ended));
      const json::Value* event = last.Find("event");
      terminal = event != nullptr && events::IsTerminalType(event->FindString("type").value_or(""));
    }
    answer = {.accepted = true,
              .cancel_requested = run.cancel_requested(),
              .rejection = {},
              .next_seq = head.next_seq,
              .head = head.head.ToHex()};
    auto reject = [&](std::string why) -> Status {
      answer.accepted = false;
      answer.rejection = "event chain rejected at seq " + std::to_string(chain.head().next_seq) +
                         ": " + std::move(why);
      return {};
    };
    // All of the batch or nothing of it: looked at whole before the first is written.
    bool materialized = false;
    for (const auto& event : *batch) {
      protocol::EventChain probe = chain;
      if (auto next = probe.Accept(event); !next) return reject(WordsFor(next.error()));
      if (terminal) return reject("the chain has ended");
      if (WrittenByPlaneOnly(event.type())) {
        return reject(std::string(event.type()) + " is written by the plane only");
      }
      if (event.ts < chain.head().last_ts) return reject("time runs backwards");
      terminal = events::IsTerminalType(event.type());
      materialized = materialized || event.type() == events::kWorkspaceMaterialized;
      chain = probe;
    }
    const auto state = run.state();
    if (!batch->empty()) {
      if (IsTerminal(state)) return StateConflict(run_id, "is " + run.status);
      for (const auto& event : *batch) WRIT_TRY(InsertEvent(db, run_id, event));
      RunState next = materialized                  ? RunState::kRunning
                      : state == RunState::kClaimed ? RunState::kProvisioning
                                                    : state;
      WRIT_ASSIGN(int moved,
                  db.Run("UPDATE runs SET status = ?1, updated_at = max(?2, updated_at + 1), "
                         "seen_at = ?2 WHERE run_id = ?3 AND status = ?4",
                         protocol::Word(next), impl_->clock.Now().unix_ms, run_id, run.status));
      if (moved != 1) return StateConflict(run_id, "has changed meanwhile");
    }
    answer.next_seq = chain.head().next_seq;
    answer.head = chain.head().head.ToHex();
    return {};
  }));
  if (!batch->empty()) WRIT_FAULT_TRY("plane.events.committed");
  if (answer.accepted && !batch->empty()) impl_->changed.Notify();
  return answer;
}

Result<Completion> Plane::Complete(const std::string& run_id, std::string_view claim_token,
                                   const json::Value& receipt_value,
                                   std::string_view runner_token) {
  WRIT_ASSIGN(auto facts, CheckClaimToken(*impl_, claim_token, run_id));

  struct Found {
    ClaimedRun run;
    RunnerIdentity runner;
    std::vector<std::string> event_texts;
  };
  WRIT_ASSIGN(Found found, impl_->store->Read([&](store::Database& db) -> Result<Found> {
    Found out;
    WRIT_ASSIGN(out.run, FindRun(db, run_id));
    if (out.run.runner_id != facts.runner_id) return Unauthorized("claim token runner mismatch");
    WRIT_TRY(CheckLedger(db, facts));
    WRIT_ASSIGN(out.runner, FindRunnerById(db, facts.runner_id));
    out.runner.public_key = out.run.runner_key;  // as it was when the run was claimed
    if (out.run.receipt.empty()) {
      WRIT_TRY(CheckRunnerNotRevoked(db, facts.runner_id));
      WRIT_ASSIGN(out.event_texts, EventTexts(db, run_id));
    }
    return out;
  }));
  auto replay = [&]() -> Result<Completion> {
    auto stored = json::Parse(found.run.receipt);
    if (stored && protocol::HashWithout(*stored, "signatures") ==
                      protocol::HashWithout(receipt_value, "signatures")) {
      return Completion{.replayed = true, .receipt = found.run.receipt};
    }
    if (!found.run.closed_reason.empty()) return RunEnded(run_id, found.run);
    return Error{.kind = ErrorKind::kConflict,
                 .code = "claim.used",
                 .message = "claim token already used for completion"};
  };
  if (!found.run.receipt.empty()) return replay();
  // After its end the token proves nothing; the runner's own token and its signature do.
  WRIT_TRY(CheckExpiryOrRunner(*impl_, facts, runner_token));

  auto receipt = protocol::Receipt::Parse(receipt_value);
  if (!receipt) {
    return Error{.kind = ErrorKind::kInvalid,
                 .code = "receipt.invalid",
                 .message = "invalid receipt: " + receipt.error().message};
  }
  WRIT_ASSIGN(auto runner_key, protocol::PublicKey::FromPem(found.runner.public_key));
  WRIT_ASSIGN(auto contract_value, json::Parse(found.run.contract));
  WRIT_ASSIGN(auto contract, protocol::Contract::Parse(contract_value));
  if (receipt->run_id.text() != run_id) return Rejected("it is for another run");
  if (receipt->runner_id.text() != found.runner.runner_id)
    return Rejected("it is of another runner");
  if (receipt->pool.text() != found.runner.pool) return Rejected("it names another pool");
  if (receipt->closed_by) return Rejected("only the plane closes a run in a runner's place");
  std::vector<protocol::Event> chain;
  for (const auto& text : found.event_texts) {
    WRIT_ASSIGN(auto value, json::Parse(text));
    WRIT_ASSIGN(auto event, protocol::Event::Parse(value));
    chain.push_back(std::move(event));
  }
  if (chain.empty() || !events::IsTerminalType(chain.back().type())) {
    return Rejected("the stored chain has no terminal event");
  }
  // One runner signature and no other: the plane adds its own.
  if (receipt->signatures.size() != 1)
    return Rejected("it must have exactly the runner's signature");
  // By the key that issued the contract, so that the bundle has one plane key after a rotation too.
  const protocol::PrivateKey* plane_key = impl_->keys.PrivateOf(contract.issuer_key);
  if (plane_key == nullptr) {
    return Error{.kind = ErrorKind::kUnavailable,
                 .code = "plane.key_missing",
                 .message = "the plane key that issued this contract is not here any more",
                 .hint = "restore keys/" + RetiredKeyFile(contract.issuer_key)};
  }
  if (auto signed_both = protocol::CountersignAsPlane(*receipt, runner_key, *plane_key);
      !signed_both) {
    return Rejected(signed_both.error().message);
  }
  WRIT_FAULT_TRY("plane.complete.countersigned");
  // The plane countersigns what an offline verifier would accept, and nothing else.
  auto report = protocol::VerifyBundleValue(protocol::BuildBundle(
      contract, *receipt, chain, {plane_key->Public(), runner_key, std::nullopt}));
  if (!report.ok) {
    std::string why;
    for (const auto& problem : report.problems) {
      why += (why.empty() ? "" : "; ") + problem.code + ": " + problem.message;
      if (why.size() > 2000) break;
    }
    return Rejected(why);
  }
  Completion done{.replayed = false, .receipt = json::Write(receipt->raw)};
  bool lost_race = false;
  WRIT_TRY(impl_->store->Write([&](store::Database& db) -> Status {
    const std::int64_t now = impl_->clock.Now().unix_ms;
    WRIT_TRY(CheckRunnerNotRevoked(db, facts.runner_id));
    WRIT_ASSIGN(found.run, FindRun(db, run_id));
    if (!found.run.receipt.empty()) {
      lost_race = true;
      return {};
    }
    WRIT_ASSIGN(auto count, db.Number("SELECT count(*) FROM events WHERE run_id = ?", run_id));
    if (count != static_cast<std::int64_t>(chain.size())) {
      return StateConflict(run_id, "has changed meanwhile");
    }
    WRIT_ASSIGN(
        int moved,
        db.Run("UPDATE runs SET status = ?, receipt = ?, "
               "updated_at = max(?, updated_at + 1) WHERE run_id = ? AND status = ? "
               "AND receipt IS NULL AND status IN ('claimed','provisioning','running')",
               protocol::Word(receipt->status), done.receipt, now, run_id, found.run.status));
    if (moved != 1) return StateConflict(run_id, "has changed meanwhile");
    WRIT_TRY(
        db.Do("UPDATE claim_tokens SET used_at = ? WHERE run_id = ? AND "
              "used_at IS NULL",
              now, run_id));
    return {};
  }));
  WRIT_FAULT_TRY("plane.complete.committed");
  if (lost_race) return replay();
  impl_->changed.Notify();
  impl_->metrics->Add(Family::kReceipts, {{"kind", "countersigned"}});
  impl_->metrics->Add(Family::kRunsEnded,
                      {{"status", protocol::Word(receipt->status)}, {"by", "runner"}});
  log::Info("plane.run_completed", "a receipt was countersigned",
            {{"run", run_id}, {"status", protocol::Word(receipt->status)}});
  return done;
}

Result<LogChunk> Plane::AppendLog(const std::string& run_id, std::string_view claim_token,
                                  LogStream stream, std::uint64_t offset, std::string_view bytes) {
  WRIT_ASSIGN(auto facts, CheckClaimToken(*impl_, claim_token, run_id));
  WRIT_TRY(CheckExpiry(*impl_, facts));
  WRIT_TRY(impl_->store->Read([&](store::Database& db) -> Status {
    WRIT_TRY(CheckRunnerNotRevoked(db, facts.runner_id));
    WRIT_ASSIGN(ClaimedRun run, FindRun(db, run_id));
    WRIT_TRY(CheckLedger(db, facts));
    if (!run.closed_reason.empty()) return RunEnded(run_id, run);
    if (IsTerminal(run.state())) return StateConflict(run_id, "is " + run.status);
    const auto disclosure = protocol::ParseDisclosure(run.disclosure);
    if (disclosure == protocol::Disclosure::kNone ||
        (disclosure == protocol::Disclosure::kMetadataOnly && stream != LogStream::kProgress)) {
      return Forbidden("the run's disclosure lets no output leave the runner");
    }
    return {};
  }));
  auto stored = impl_->logs.Append(run_id, stream, offset, bytes);
  if (stored) impl_->changed.Notify();
  return stored;
}

Result<std::uint64_t> Plane::LogSize(const std::string& run_id, LogStream stream) const {
  return impl_->logs.Size(run_id, stream);
}

Result<LogChunk> Plane::ReadLog(const std::string& run_id, LogStream stream, std::uint64_t offset,
                                std::chrono::milliseconds wait) const {
  const auto deadline = std::chrono::steady_clock::now() + wait;
  for (;;) {
    const auto seen = impl_->changed.Generation();
    // State before bytes: bytes that come with the end are not missed.
    WRIT_ASSIGN(ClaimedRun run,
                impl_->store->Read([&](store::Database& db) { return FindRun(db, run_id); }));
    const bool ended = IsTerminal(protocol::ParseRunState(run.status).value_or(RunState::kFailed));
    WRIT_ASSIGN(LogChunk chunk, impl_->logs.Read(run_id, stream, offset));
    chunk.complete = ended && offset + chunk.bytes.size() >= chunk.size;
    if (!chunk.bytes.empty() || ended) return chunk;
    if (!impl_->changed.WaitSlice(seen, deadline)) return chunk;
  }
}

}  // namespace writ::plane
