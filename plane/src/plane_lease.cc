// Leases: a runner's sign of life, and the plane's way to tell it something.
#include "claim_access.h"
#include "writ/base/log.h"

namespace writ::plane {
namespace {

using std::chrono::milliseconds;
using Moment = std::chrono::steady_clock::time_point;

// What was told less than this ago is not told again at once, whatever the wait: a runner that
// calls in a circle would otherwise renew as fast as it can.
constexpr milliseconds kToldPace{1000};

struct Word {  // what there is to say
  bool cancel = false;
  bool rotate = false;
  std::string cancel_actor;
  bool any() const { return cancel || rotate; }
  bool operator==(const Word&) const = default;
};

Result<Word> Look(store::Database& db, const std::string& run_id, const std::string& runner_id) {
  WRIT_TRY(CheckRunnerNotRevoked(db, runner_id));
  WRIT_ASSIGN(ClaimedRun run, FindRun(db, run_id));
  if (IsTerminal(run.state())) return RunEnded(run_id, run);
  WRIT_ASSIGN(auto runner, FindRunnerById(db, runner_id));
  return Word{run.cancel_requested(), runner.rotate_asked, run.cancel_actor};
}

}  // namespace

Result<LeaseAnswer> Plane::Lease(const std::string& run_id, const LeaseCall& call) {
  const Moment begun = std::chrono::steady_clock::now();
  WRIT_ASSIGN(auto facts, CheckClaimToken(*impl_, call.claim_token, run_id));
  WRIT_TRY(CheckExpiryOrRunner(*impl_, facts, call.runner_token));
  const WallTime now = impl_->clock.Now();
  const LeaseTerms& terms = impl_->config.lease;
  LeaseAnswer out;
  out.times = {terms.lease, terms.lease / 3};
  std::optional<WallTime> seen_before;
  WRIT_TRY(impl_->store->Write([&](store::Database& db) -> Status {
    out.claim_token.clear();
    out.closed = false;
    WRIT_TRY(CheckRunnerNotRevoked(db, facts.runner_id));
    WRIT_ASSIGN(ClaimedRun run, FindRun(db, run_id));
    const bool ended = IsTerminal(run.state());
    const bool proven = facts.expires_at <= now;  // by the runner's own token
    if (ended && (!proven || run.closed_reason.empty())) return RunEnded(run_id, run);
    if (run.runner_id.empty()) {
      return Error{.kind = ErrorKind::kConflict,
                   .code = "claim.not_acknowledged",
                   .message = "run " + run_id + " was offered and not acknowledged"};
    }
    if (run.runner_id != facts.runner_id) return Unauthorized("claim token runner mismatch");
    WRIT_TRY(CheckLedger(db, facts));
    const milliseconds life = ClaimTokenLife(run.timeout);
    if (ended) {  // its output may still come, before the late bundle that names it
      out.closed = true;
      WRIT_ASSIGN(out.claim_token,
                  IssueClaimToken(*impl_, db, run_id, facts.runner_id, now + life));
      return {};
    }
    seen_before = run.seen_at;
    WRIT_ASSIGN(int renewed,
                db.Run("UPDATE runs SET lease_until = max(coalesce(lease_until, 0), ?1), "
                       "seen_at = ?2 WHERE run_id = ?3 AND runner_id = ?4 AND status IN "
                       "('claimed','provisioning','running')",
                       (now + terms.lease).unix_ms, now.unix_ms, run_id, facts.runner_id));
    if (renewed != 1) return StateConflict(run_id, "has changed meanwhile");
    if (facts.expires_at - now >= life / 2) return {};
    // One that was sent a moment ago may only have been lost: it is not made at every call anew.
    WRIT_ASSIGN(auto newest,
                db.Number("SELECT max(expires_at) FROM claim_tokens WHERE run_id = ?", run_id));
    const bool just_sent = newest.value_or(0) > (now + (life - life / 8)).unix_ms;
    if (just_sent && facts.expires_at > now) return {};
    WRIT_ASSIGN(out.claim_token, IssueClaimToken(*impl_, db, run_id, facts.runner_id, now + life));
    return {};
  }));
  if (out.closed) return out;

  impl_->metrics->Add(Family::kLeaseRenewals);
  std::optional<Word> at_arrival;
  for (;;) {
    const auto seen = impl_->changed.Generation();
    WRIT_ASSIGN(Word word, impl_->store->Read([&](store::Database& db) {
      return Look(db, run_id, facts.runner_id);
    }));
    if (!at_arrival) at_arrival = word;
    out.cancel_requested = word.cancel;
    out.rotate = word.rotate;
    if (word.cancel && !out.cancelled_by) {
      WRIT_ASSIGN(out.cancelled_by, ParseActor(word.cancel_actor));
    }
    Moment until = begun + call.wait;
    if (word.any()) {
      const bool may_be_told =
          at_arrival->any() && *at_arrival == word && seen_before && now - *seen_before < kToldPace;
      if (!may_be_told) return out;
      until = std::min(until, begun + kToldPace);
    }
    if (!impl_->changed.WaitSlice(seen, until) || (call.abandoned && call.abandoned())) return out;
  }
}

}  // namespace writ::plane
