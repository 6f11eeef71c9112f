// Offers: a run shown to one runner for a few seconds, which takes it or gives it back.
//
// While it is offered a run stays `created` and its chain has nothing of the offer: what nobody
// acknowledged never happened. Every change names the offer by the nonce of its token (L39).
#include "claim_access.h"
#include "waiting.h"
#include "writ/base/encoding.h"
#include "writ/base/fault.h"
#include "writ/base/log.h"

namespace writ::plane {
namespace {

using std::chrono::milliseconds;
using Moment = std::chrono::steady_clock::time_point;

// A runner that is told the same thing again and again is answered at most this often.
constexpr milliseconds kToldPace{1000};

Error OfferExpired(const std::string& run_id) {
  return Error{.kind = ErrorKind::kConflict,
               .code = "offer.expired",
               .message = "the offer of run " + run_id + " is over"};
}

Result<std::optional<Offer>> TryOffer(const Plane::Impl& plane, store::Database& db,
                                      const RunnerIdentity& runner, const std::string& only_run,
                                      const protocol::RunnerCapabilities* can) {
  const WallTime now = plane.clock.Now();
  WRIT_ASSIGN(auto next, NextInQueue(db, {runner, now, only_run, can}));
  if (!next) return std::optional<Offer>{};
  const ClaimTokenFacts facts{.run_id = next->run_id,
                              .runner_id = runner.runner_id,
                              .nonce = Base64UrlEncode(RandomBytes(16)),
                              .expires_at = now + ClaimTokenLife(next->timeout)};
  const milliseconds lasts = plane.config.lease.offer;
  WRIT_ASSIGN(
      int offered,
      db.Run("UPDATE runs SET offered_to = ?1, offer_nonce = ?2, offered_until = ?3 "
             "WHERE run_id = ?4 AND status = 'created' AND "
             "(offered_until IS NULL OR offered_until <= ?5)",
             runner.runner_id, facts.nonce, (now + lasts).unix_ms, next->run_id, now.unix_ms));
  if (offered != 1) return std::optional<Offer>{};
  Offer offer{.run_id = next->run_id,
              .contract = next->contract,
              .claim_token = MintClaimToken(facts, plane.keys.plane),
              .events = {},
              .lasts = lasts};
  WRIT_ASSIGN(offer.events, EventTexts(db, offer.run_id));
  return std::optional(std::move(offer));
}

// How an acknowledgement finds its run.
enum class Standing { kOffered, kTaken };

Result<Standing> StandingOf(const std::string& run_id, const ClaimedRun& run,
                            const ClaimTokenFacts& facts, WallTime now) {
  if (IsTerminal(run.state())) return RunEnded(run_id, run);
  if (run.status == "created") {
    const bool good =
        run.offer_nonce == facts.nonce && run.offered_until > now.unix_ms && run.expires_at > now;
    return good ? Result<Standing>(Standing::kOffered) : OfferExpired(run_id);
  }
  if (run.claim_nonce != facts.nonce) return OfferExpired(run_id);
  if (run.status != "claimed") {
    return Error{.kind = ErrorKind::kConflict,
                 .code = "claim.started",
                 .message = "run " + run_id + " was acknowledged and has gone on since"};
  }
  return Standing::kTaken;
}

// An offer becomes a claim; 0 where it is not there any more.
Result<int> TakeUp(const Plane::Impl& plane, store::Database& db, const RunnerIdentity& runner,
                   const ClaimTokenFacts& facts, WallTime arrived) {
  const WallTime now = plane.clock.Now();
  WRIT_ASSIGN(auto row,
              db.Ask("SELECT contract, contract_hash FROM runs WHERE run_id = ?", facts.run_id));
  WRIT_ASSIGN(bool any, row.Next());
  if (!any) return RunNotFound();
  QueuedRun run{.run_id = facts.run_id, .contract = row.Text(0), .contract_hash = row.Text(1)};
  WRIT_ASSIGN(
      int moved,
      db.Run("UPDATE runs SET status = 'claimed', runner_id = ?1, runner_key = ?2, "
             "claim_nonce = ?3, lease_until = ?4, seen_at = ?5, offered_to = NULL, "
             "offer_nonce = NULL, offered_until = NULL, "
             "updated_at = max(?5, updated_at + 1) WHERE run_id = ?6 AND "
             "status = 'created' AND offer_nonce = ?3 AND offered_until > ?7 AND "
             "expires_at > ?5",
             runner.runner_id, runner.public_key, facts.nonce,
             (now + plane.config.lease.lease).unix_ms, now.unix_ms, run.run_id, arrived.unix_ms));
  if (moved != 1) return 0;
  WRIT_ASSIGN(json::Value value, json::Parse(run.contract));
  WRIT_ASSIGN(auto contract, protocol::Contract::Parse(value));
  WRIT_TRY(WriteClaimEvents(db, run, runner, contract.secrets, now));
  WRIT_TRY(EnterIntoLedger(db, facts));
  return 1;
}

}  // namespace

Result<OfferAnswer> Plane::TakeOffer(std::string_view runner_token, std::string_view pool,
                                     milliseconds wait, const std::function<bool()>& abandoned,
                                     const std::string& only_run,
                                     const protocol::RunnerCapabilities* can) {
  const Moment begun = std::chrono::steady_clock::now();
  const Moment deadline = begun + wait;
  bool asked_before = false;  // to rotate, already when the call came
  for (bool first = true;; first = false) {
    WRIT_ASSIGN(auto runner, AuthenticateRunner(*impl_, runner_token));
    if (runner.pool != pool) return Unauthorized("runner is not enrolled in the requested pool");
    const ChangeSignal& queue = impl_->queue->Of(runner.pool);
    const auto seen = queue.Generation();
    if (first) asked_before = runner.rotate_asked;
    if (first && only_run.empty()) WRIT_TRY(NoteHeard(*impl_, runner, can));
    Moment until = deadline;
    if (runner.rotate_asked) {
      if (!asked_before) return OfferAnswer{.offer = std::nullopt, .rotate = true};
      until = std::min(deadline, begun + kToldPace);
    } else {
      WRIT_ASSIGN(auto waiting, impl_->store->Read([&](store::Database& db) {
        return NextInQueue(db, {runner, impl_->clock.Now(), only_run, can});
      }));
      if (abandoned && abandoned()) return OfferAnswer{};
      std::optional<Offer> offer;
      if (waiting) {
        WRIT_TRY(impl_->store->Write([&](store::Database& db) -> Status {
          WRIT_ASSIGN(offer, TryOffer(*impl_, db, runner, only_run, can));
          return {};
        }));
        if (!offer) continue;  // somebody else was faster
        WRIT_FAULT_TRY("plane.claim.committed");
        impl_->metrics->Add(Family::kClaims, {{"kind", "offered"}});
        log::Info("plane.run_offered", "a run was offered",
                  {{"run", offer->run_id}, {"runner", runner.runner_id}});
        return OfferAnswer{.offer = std::move(offer), .rotate = false};
      }
    }
    if (!queue.WaitSlice(seen, until) || (abandoned && abandoned())) {
      return OfferAnswer{.offer = std::nullopt, .rotate = runner.rotate_asked};
    }
  }
}

Result<Acknowledgement> Plane::Acknowledge(const std::string& run_id,
                                           std::string_view claim_token) {
  WRIT_ASSIGN(auto facts, CheckClaimToken(*impl_, claim_token, run_id));
  WRIT_TRY(CheckExpiry(*impl_, facts));
  const WallTime arrived = impl_->clock.Now();
  struct Found {
    ClaimedRun run;
    RunnerIdentity runner;
    Standing standing = Standing::kOffered;
  };
  auto look = [&](store::Database& db) -> Result<Found> {
    Found out;
    WRIT_TRY(CheckRunnerNotRevoked(db, facts.runner_id));
    WRIT_ASSIGN(out.run, FindRun(db, run_id));
    WRIT_ASSIGN(out.runner, FindRunnerById(db, facts.runner_id));
    WRIT_ASSIGN(out.standing, StandingOf(run_id, out.run, facts, arrived));
    return out;
  };
  WRIT_ASSIGN(Found found, impl_->store->Read(look));
  WRIT_ASSIGN(json::Value value, json::Parse(found.run.contract));
  WRIT_ASSIGN(auto contract, protocol::Contract::Parse(value));
  Acknowledgement out;
  out.times = {impl_->config.lease.lease, impl_->config.lease.lease / 3};
  if (!contract.secrets.empty()) {
    if (found.standing == Standing::kOffered) {
      // Fetching may take longer than the offer lasts: it is held open meanwhile.
      WRIT_TRY(impl_->store->Write([&](store::Database& db) -> Status {
        WRIT_ASSIGN(int held,
                    db.Run("UPDATE runs SET offered_until = max(offered_until, ?) WHERE run_id = ? "
                           "AND status = 'created' AND offer_nonce = ? AND offered_until > ?",
                           (arrived + std::chrono::minutes(1)).unix_ms, run_id, facts.nonce,
                           arrived.unix_ms));
        return held == 1 ? Status() : look(db) ? Status() : Status(OfferExpired(run_id));
      }));
    }
    auto fetched = FetchSecrets(*impl_, found.run.pool, contract.secrets);
    if (!fetched && found.standing == Standing::kTaken) {
      return Error{.kind = ErrorKind::kUnavailable,
                   .code = "secret.unavailable",
                   .message = fetched.error().message};
    }
    if (!fetched) {
      // Fails closed, and says so in the run (L43). Nobody has claimed it.
      auto ended = impl_->EndUnclaimed(run_id, RunState::kCreated,
                                       protocol::FailureClass::kSecretReleaseDenied,
                                       fetched.error().message);
      if (!ended && ended.error().kind != ErrorKind::kConflict) return std::move(ended).error();
      return Error{.kind = ErrorKind::kConflict,
                   .code = "run.ended",
                   .message = "run " + run_id + " has ended: a secret cannot be released"};
    }
    out.secrets = std::move(*fetched);
  }
  bool fresh = false;
  WRIT_TRY(impl_->store->Write([&](store::Database& db) -> Status {
    fresh = false;
    WRIT_TRY(CheckRunnerNotRevoked(db, facts.runner_id));
    WRIT_ASSIGN(auto runner, FindRunnerById(db, facts.runner_id));
    WRIT_ASSIGN(int taken, TakeUp(*impl_, db, runner, facts, arrived));
    fresh = taken == 1;
    if (!fresh) {
      // Acknowledged before, perhaps by the same call whose answer was lost.
      WRIT_ASSIGN(Found again, look(db));
      if (again.standing != Standing::kTaken) return OfferExpired(run_id);
      const WallTime now = impl_->clock.Now();
      WRIT_ASSIGN(
          int renewed,
          db.Run("UPDATE runs SET lease_until = max(coalesce(lease_until, 0), ?), "
                 "seen_at = ? WHERE run_id = ? AND status = 'claimed' AND claim_nonce = ?",
                 (now + impl_->config.lease.lease).unix_ms, now.unix_ms, run_id, facts.nonce));
      if (renewed != 1) return StateConflict(run_id, "has changed meanwhile");
    }
    WRIT_ASSIGN(out.events, EventTexts(db, run_id));
    return {};
  }));
  WRIT_FAULT_TRY("plane.acknowledge.committed");
  if (fresh) {
    impl_->changed.Notify();
    impl_->NoteClaimed(contract, "acknowledged");
    log::Info("plane.run_claimed", "a run was claimed",
              {{"run", run_id}, {"runner", facts.runner_id}});
  }
  return out;
}

Status Plane::Decline(const std::string& run_id, std::string_view claim_token,
                      std::string_view reason) {
  WRIT_ASSIGN(auto facts, CheckClaimToken(*impl_, claim_token, run_id));
  WRIT_TRY(CheckExpiry(*impl_, facts));
  const WallTime now = impl_->clock.Now();
  WRIT_TRY(impl_->store->Write([&](store::Database& db) -> Status {
    WRIT_TRY(CheckRunnerNotRevoked(db, facts.runner_id));
    WRIT_ASSIGN(ClaimedRun run, FindRun(db, run_id));
    if (run.claim_nonce == facts.nonce && !IsTerminal(run.state())) {
      return Error{.kind = ErrorKind::kConflict,
                   .code = "claim.acknowledged",
                   .message = "run " + run_id + " was acknowledged: it needs a receipt"};
    }
    if (IsTerminal(run.state())) return RunEnded(run_id, run);
    WRIT_ASSIGN(int given, db.Run("UPDATE runs SET offered_to = NULL, offer_nonce = NULL, "
                                  "offered_until = NULL WHERE run_id = ? AND status = 'created' "
                                  "AND offer_nonce = ?",
                                  run_id, facts.nonce));
    if (given != 1) return {};  // run out, and back in the queue already
    // Not to this runner again at once: it would decline for the same reason.
    WRIT_TRY(db.Do(
        "INSERT INTO declined_offers (run_id, runner_id, until, reason) VALUES "
        "(?,?,?,?) ON CONFLICT (run_id, runner_id) DO UPDATE SET "
        "until = excluded.until, reason = excluded.reason",
        run_id, facts.runner_id, (now + impl_->config.lease.offer).unix_ms, reason.substr(0, 200)));
    return {};
  }));
  impl_->changed.Notify();
  impl_->queue->NotifyAll();
  impl_->metrics->Add(Family::kClaims, {{"kind", "declined"}});
  log::Info("plane.offer_declined", "a runner gave an offer back",
            {{"run", run_id}, {"runner", facts.runner_id}, {"reason", reason.substr(0, 200)}});
  return {};
}

}  // namespace writ::plane
