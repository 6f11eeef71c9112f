#include "session/lease.h"

#include <algorithm>

#include "writ/base/backoff.h"
#include "writ/base/log.h"
#include "writ/base/log_context.h"

namespace writ::runner {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

namespace {
// An answer that the plane need not wait for comes within this, or the call is made again.
constexpr milliseconds kAnswerLimit{10'000};
// Between two calls, however often the plane has something to say.
constexpr milliseconds kLeastPause{100};
constexpr milliseconds kMostBackoff{5'000};
// How late a loop may be before it counts as stuck.
constexpr milliseconds kSlack{60'000};
}  // namespace

Lease::Lease(const RunnerConfig& config, const Secret& runner_token, const Clock& clock,
             protocol::RunId run, LeaseTerms terms, ClaimTicket& ticket, Liveness& liveness,
             Listener listener)
    : config_(config),
      runner_token_(runner_token),
      clock_(clock),
      run_(std::move(run)),
      ticket_(ticket),
      listener_(std::move(listener)),
      beat_(liveness.Register("lease of " + run_.text())),
      terms_(terms),
      last_answer_(clock.Monotonic()),
      thread_([this, context = log::CurrentRun()](std::stop_token stop) {
        log::InRun in_run(context);
        Run(stop);
      }) {}

Lease::~Lease() = default;

std::optional<LeaseLoss> Lease::final_loss() const {
  std::lock_guard lock(mutex_);
  return final_loss_;
}

std::optional<milliseconds> Lease::gap() const {
  std::lock_guard lock(mutex_);
  if (gap_.count() == 0) return std::nullopt;
  return gap_;
}

milliseconds Lease::Silence() const {
  return duration_cast<milliseconds>(clock_.Monotonic() - last_answer_);
}

void Lease::NoteGap(std::chrono::nanoseconds until) {
  auto gap = duration_cast<milliseconds>(until - last_answer_);
  if (gap <= terms_.lease) return;
  std::lock_guard lock(mutex_);
  gap_ = std::max(gap_, gap);
}

void Lease::OnAnswer(LeaseAnswer& answer, std::chrono::nanoseconds asked_at) {
  if (!last_code_.empty())
    log::Info("lease.back", "the plane renews the run's lease again",
              {{"run", run_.text()}, {"silentMs", Silence().count()}});
  last_code_.clear();
  NoteGap(asked_at);
  last_answer_ = asked_at;  // the lease is renewed when the call arrives
  terms_ = answer.terms;
  news_ = false;
  if (answer.signals.claim_token) {
    ticket_.Renew(std::move(*answer.signals.claim_token));
    news_ = true;
  }
  if (answer.signals.cancel_requested && !std::exchange(cancel_told_, true)) {
    news_ = true;
    if (listener_.on_cancel) listener_.on_cancel(std::move(answer.signals.cancelled_by));
  }
}

bool Lease::OnError(const Error& error) {
  auto final = [&](LeaseLoss loss, const char* event, const std::string& message) {
    {
      std::lock_guard lock(mutex_);
      final_loss_ = loss;
    }
    log::Warn(event, message, {{"run", run_.text()}, {"code", error.code}});
    if (listener_.on_loss) listener_.on_loss(loss, message);
    return false;
  };
  if (end_expected_ && error.kind == ErrorKind::kConflict) return false;  // it has our receipt
  NoteGap(clock_.Monotonic());
  if (error.code == "plane.revoked")
    return final(LeaseLoss::kRevoked, "lease.revoked",
                 "this runner was revoked while the run was in work");
  if (error.code == "plane.run_ended")
    return final(LeaseLoss::kEnded, "lease.run_ended",
                 "the plane had closed the run before its runner was done");
  if (error.code == "plane.forgotten")
    return final(LeaseLoss::kForgotten, "lease.forgotten",
                 "the plane does not know the run any more");
  if (error.code != last_code_)
    log::Warn("lease.not_renewed", "the run's lease could not be renewed; trying on",
              {{"run", run_.text()}, {"code", error.code}, {"error", error.ToString()}});
  last_code_ = error.code;
  if (StopsWhenSilent() && Silence() >= config_.plane_lost.stop_after && !silence_told_) {
    silence_told_ = true;
    std::string message = "the plane did not answer for " + std::to_string(Silence().count()) +
                          " ms, and this runner's policy is to stop then";
    log::Warn("lease.plane_lost", message, {{"run", run_.text()}});
    if (listener_.on_loss) listener_.on_loss(LeaseLoss::kSilent, message);
  }
  return true;
}

void Lease::Run(std::stop_token stop) {
  Result<PlaneClient> plane = PlaneClient::Open(config_.plane, clock_);
  if (!plane) {
    log::Error("lease.none", "no lease is kept: the plane client could not be opened",
               {{"run", run_.text()}, {"code", plane.error().code}});
    return;
  }
  const Backoff fresh(milliseconds(200), kMostBackoff);
  Backoff backoff = fresh;
  bool rotation_told = false;
  bool token_ended = false;  // the claim token has run out: the runner's own goes along
  while (!stop.stop_requested()) {
    // A wish to cancel is said once; a plane would repeat it at once for ever.
    milliseconds wait =
        cancel_told_ ? milliseconds(0) : std::min(terms_.renew_after, config_.long_poll);
    wait -= Backoff::Jittered(wait / 5);
    milliseconds limit = wait + std::min({kAnswerLimit, config_.call_timeout, terms_.lease});
    if (StopsWhenSilent() && !silence_told_)
      limit = std::clamp(config_.plane_lost.stop_after - Silence(), kLeastPause, limit);
    wait = std::min(wait, limit / 2);
    beat_.Within(limit + kSlack, "renewing");
    const auto asked_at = clock_.Monotonic();
    Result<LeaseAnswer> answer =
        plane->RenewLease(run_, ticket_.Get(), token_ended ? &runner_token_ : nullptr, wait,
                          Deadline::After(clock_, limit), stop);
    milliseconds pause;
    if (answer && answer->closed) {
      if (answer->signals.claim_token) ticket_.Renew(std::move(*answer->signals.claim_token));
      answer = Error{.kind = ErrorKind::kConflict,
                     .code = "plane.run_ended",
                     .message = "the plane has closed the run"};
    }
    if (answer) {
      OnAnswer(*answer, asked_at);
      backoff = fresh;
      token_ended = false;
      if (plane->rotation_asked() && !std::exchange(rotation_told, true) && listener_.on_rotation)
        listener_.on_rotation();
      auto spent = duration_cast<milliseconds>(clock_.Monotonic() - asked_at);
      // A plane that held the call has waited for us; one that answered at once is asked again
      // when it is time, a little early and not in step with others.
      auto due = terms_.renew_after - terms_.renew_after / 10;
      pause = news_ || spent >= wait ? milliseconds(0) : due - spent;
      if (wait.count() == 0) pause = due - spent;
      pause = std::max(pause - Backoff::Jittered(pause / 10), kLeastPause);
    } else {
      if (answer.error().kind == ErrorKind::kCancelled) break;
      if (answer.error().code == "plane.unauthorized" && !std::exchange(token_ended, true)) {
        log::Info("lease.token_ended", "the claim token has run out; a fresh one is asked for",
                  {{"run", run_.text()}});
        continue;
      }
      if (!OnError(answer.error())) return;
      pause = std::min(backoff.Next(), terms_.renew_after);
      if (StopsWhenSilent() && !silence_told_)
        pause = std::clamp(config_.plane_lost.stop_after - Silence(), milliseconds(1), pause);
    }
    beat_.Within(pause + kSlack, "waiting");
    Backoff::Pause(pause, stop);
  }
}

}  // namespace writ::runner
