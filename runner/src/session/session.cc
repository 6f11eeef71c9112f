#include "session/session.h"

#include "writ/base/log.h"
#include "writ/protocol/events.h"

namespace writ::runner {

namespace {
// For a step that is bounded by its transfers and the size of a workspace, not by a timer.
constexpr std::chrono::milliseconds kStepAllowance{600'000};
}  // namespace

Session::Session(SessionServices& services, PlaneClient& plane, ClaimedRun run,
                 Vocabulary vocabulary, unsigned slot, std::stop_token cancel)
    : services_(services),
      plane_(plane),
      claim_(std::move(run.claim)),
      ticket_(claim_.claim_token.Clone()),
      vocabulary_(vocabulary),
      slot_(slot),
      cancel_(std::move(cancel)),
      contract_hash_(protocol::HashWithout(claim_.contract, "signatures")),
      journal_(std::move(run.journal)),
      beat_(services.liveness.Register("run " + claim_.run_id.text())) {
  if (run.lease) KeepLease(*run.lease);
}

Session::~Session() = default;

void Session::KeepLease(LeaseTerms terms) {
  lease_.emplace(
      services_.config, services_.clock, claim_.run_id, terms, ticket_, services_.liveness,
      Lease::Listener{
          .on_cancel =
              [this](std::optional<protocol::Actor> actor) {
                Halt(std::nullopt,
                     actor ? *actor : protocol::Actor{protocol::ActorKind::kService, "plane"});
              },
          .on_loss = [this](LeaseLoss loss, const std::string& message) { OnLoss(loss, message); },
          .on_rotation = services_.on_rotation});
}

void Session::OnLoss(LeaseLoss loss, const std::string& message) {
  const char* code = loss == LeaseLoss::kSilent      ? "lease.plane_lost"
                     : loss == LeaseLoss::kEnded     ? "lease.run_ended"
                     : loss == LeaseLoss::kForgotten ? "lease.forgotten"
                                                     : "lease.revoked";
  Halt(RunFailure{protocol::FailureClass::kSessionFailed, code, message,
                  loss == LeaseLoss::kSilent ? "see planeLost in the runner's configuration" : ""},
       std::nullopt);
  if (loss != LeaseLoss::kRevoked) return;
  kill_job_.request_stop();
  if (services_.on_revoked) services_.on_revoked();
}

void Session::Halt(std::optional<RunFailure> why, std::optional<protocol::Actor> cancelled_by) {
  {
    std::lock_guard lock(cause_mutex_);
    if (std::exchange(halted_, true)) return;
    if (why) guard_failure_ = std::move(why);
    cancelled_by_ = std::move(cancelled_by);
  }
  halt_.request_stop();
  stop_job_.request_stop();
}

RunEnd Session::Run() {
  std::stop_callback on_cancel(cancel_, [this] { Halt(std::nullopt, std::nullopt); });
  Tell(runner::Step::kClaimed);
  Take(&Session::Verify) && Take(&Session::Decide) && Take(&Session::SpawnProxy) &&
      Take(&Session::Materialize) && Take(&Session::PrepareBackend) &&
      Take(&Session::HideSecrets) && Take(&Session::StartProxy) && Take(&Session::DeliverSecrets) &&
      Take(&Session::StartJob);
  if (started_) {
    Watch();
    Collect();
  }
  Dismantle();
  Upload();
  Conclude();
  lease_.reset();  // held until here: the receipt is stored, or parked

  RunEnd end;
  end.status = cancelled_ ? "cancelled" : failure_ ? "failed" : "completed";
  if (failure_ && !cancelled_) {
    end.failure = protocol::Word(failure_->failure);
    end.message = failure_->message;
    end.hint = failure_->hint;
  }
  if (services_.observer != nullptr) services_.observer->OnEnd(claim_.run_id.text(), end);
  return end;
}

bool Session::Take(Step step) {
  if (halt_.stop_requested()) {
    std::lock_guard lock(cause_mutex_);
    if (guard_failure_) {
      Fail(*guard_failure_);
    } else {
      cancelled_ = true;
    }
    return false;
  }
  if (auto failure = (this->*step)()) {
    Fail(std::move(*failure));
    return false;
  }
  return !cancelled_;
}

void Session::Fail(RunFailure failure) {
  if (!failure_) failure_ = std::move(failure);
}

void Session::Tell(runner::Step step) {
  beat_.Within(services_.config.transfer_timeout * 4 + kStepAllowance, std::string(StepName(step)));
  if (auto fresh = ticket_.TakeUnnoted(); fresh && journal_) (void)journal_->NoteToken(*fresh);
  if (journal_) {
    if (Status noted = journal_->NoteStep(StepName(step)); !noted)
      log::Warn("runner.journal", "a step could not be noted",
                {{"run", claim_.run_id.text()}, {"code", noted.error().code}});
  }
  log::Debug("runner.step", StepName(step), {{"run", claim_.run_id.text()}});
  if (services_.observer != nullptr) services_.observer->OnStep(claim_.run_id.text(), step);
}

std::string_view StepName(Step step) {
  switch (step) {
    case Step::kClaimed:
      return "claimed";
    case Step::kVerified:
      return "verified";
    case Step::kPlanned:
      return "planned";
    case Step::kMaterialized:
      return "materialized";
    case Step::kStarted:
      return "started";
    case Step::kEnded:
      return "ended";
    case Step::kCollected:
      return "collected";
    case Step::kDismantled:
      return "dismantled";
    case Step::kUploaded:
      return "uploaded";
    case Step::kCompleted:
      return "completed";
    case Step::kParked:
      return "parked";
  }
  return "unknown";
}

}  // namespace writ::runner
