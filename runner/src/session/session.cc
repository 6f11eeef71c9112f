#include "session/session.h"

#include <algorithm>

#include "journal/unnoted.h"
#include "writ/base/fault.h"
#include "writ/base/log.h"
#include "writ/protocol/events.h"

namespace writ::runner {

// The name of a step with its fault points.
#define WRIT_STEP(name)                                                                   \
  SessionStep {                                                                           \
    name, fault::Index("session." name ".before"), fault::Index("session." name ".after") \
  }

namespace {

// In a build with fault points: a step that was told to fail.
std::optional<RunFailure> FaultAt([[maybe_unused]] std::size_t point) {
#ifdef WRIT_FAULTS
  if (Status told = fault::Reach(point); !told)
    return FailureFrom(told.error(), protocol::FailureClass::kSessionFailed);
#endif
  return std::nullopt;
}

}  // namespace

namespace {
// For a step that is bounded by its transfers and the size of a workspace, not by a timer.
constexpr std::chrono::milliseconds kStepAllowance{600'000};

// As far as the contract can be believed before it is verified: for the log only.
std::string TraceIdOf(const json::Value& contract) {
  const json::Value* trace = contract.Find("trace");
  const auto parent = trace != nullptr ? trace->FindString("traceparent") : std::nullopt;
  if (!parent || !protocol::IsTraceparent(*parent)) return "";
  return protocol::TraceContext{std::string(*parent)}.trace_id();
}

// From run.created to run.claimed, by the plane's clock.
std::optional<std::chrono::milliseconds> QueueTime(const json::Value& events) {
  Result<std::vector<protocol::Event>> chain = protocol::Event::ParseAll(events);
  if (!chain || chain->empty()) return std::nullopt;
  for (const protocol::Event& event : *chain)
    if (event.type() == protocol::events::kRunClaimed)
      return std::chrono::milliseconds(
          std::max<std::int64_t>(0, event.ts.unix_ms - chain->front().ts.unix_ms));
  return std::nullopt;
}

std::chrono::milliseconds Between(std::chrono::nanoseconds from, std::chrono::nanoseconds to) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(to - from);
}
}  // namespace

Session::Session(SessionServices& services, PlaneClient& plane, ClaimedRun run,
                 Vocabulary vocabulary, unsigned slot, std::stop_token cancel)
    : services_(services),
      plane_(plane),
      claim_(std::move(run.claim)),
      ticket_(claim_.claim_token.Clone()),
      before_claim_{std::move(run.before_claim)},
      machine_(run.machine),
      log_context_(LogContextOf(claim_.run_id, claim_.contract)),
      claimed_at_(services.clock.Monotonic()),
      step_at_(claimed_at_),
      vocabulary_(vocabulary),
      slot_(slot),
      cancel_(std::move(cancel)),
      contract_hash_(protocol::HashWithout(claim_.contract, "signatures")),
      journal_(std::move(run.journal)),
      beat_(services.liveness.Register("run " + claim_.run_id.text())) {
  if (run.lease) KeepLease(*run.lease);
  // L4: without a lease nobody hears of a plane's silence.
  if (!run.lease && services.config.plane_lost.policy == PlaneLost::Policy::kStop)
    log::Warn("lease.none",
              "planeLost \"stop\" does nothing for a run: its plane keeps no lease of it",
              {{"run", claim_.run_id.text()}});
}

Session::~Session() = default;

std::shared_ptr<log::RunContext> LogContextOf(const protocol::RunId& run,
                                              const json::Value& contract) {
  auto context = std::make_shared<log::RunContext>(run.text(), TraceIdOf(contract));
  context->SetStep(StepName(runner::Step::kClaimed));
  return context;
}

void Session::KeepLease(LeaseTerms terms) {
  log::InRun in_run(log_context_);  // for the lease's thread
  services_.bus.Publish(LeaseSeen{Ref(), LeaseWord::kHeld});
  lease_.emplace(
      services_.config, services_.identity.token, services_.clock, claim_.run_id, terms, ticket_,
      services_.liveness,
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
  const LeaseWord word = loss == LeaseLoss::kSilent      ? LeaseWord::kSilent
                         : loss == LeaseLoss::kEnded     ? LeaseWord::kEnded
                         : loss == LeaseLoss::kForgotten ? LeaseWord::kForgotten
                                                         : LeaseWord::kRevoked;
  services_.bus.Publish(LeaseSeen{Ref(), word});
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
  log::InRun in_run(log_context_);
  std::stop_callback on_cancel(cancel_, [this] { Halt(std::nullopt, std::nullopt); });
  Tell(runner::Step::kClaimed);
  Take(&Session::Verify, WRIT_STEP("verify")) && Take(&Session::Decide, WRIT_STEP("decide")) &&
      Take(&Session::AskBeforeRun, WRIT_STEP("before-run")) &&
      Take(&Session::HideSecrets, WRIT_STEP("hide")) &&
      Take(&Session::SpawnProxy, WRIT_STEP("spawn")) &&
      Take(&Session::Materialize, WRIT_STEP("materialize")) &&
      Take(&Session::PrepareBackend, WRIT_STEP("prepare")) &&
      Take(&Session::StartProxy, WRIT_STEP("proxy")) &&
      Take(&Session::DeliverSecrets, WRIT_STEP("secrets")) &&
      Take(&Session::StartJob, WRIT_STEP("start"));
  if (started_) {
    Do(&Session::Watch, WRIT_STEP("watch"));
    Do(&Session::Collect, WRIT_STEP("collect"));
  }
  Do(&Session::Dismantle, WRIT_STEP("dismantle"));
  Do(&Session::TellAfterRun, WRIT_STEP("after-run"));
  Do(&Session::Store, WRIT_STEP("store"));
  Do(&Session::Upload, WRIT_STEP("upload"));
  Do(&Session::Conclude, WRIT_STEP("conclude"));
  if (lease_) {
    lease_.reset();  // held until here: the receipt is stored, parked, or waits
    services_.bus.Publish(LeaseSeen{Ref(), LeaseWord::kLetGo});
  }
  Release();

  RunEnd end;
  end.status = cancelled_ ? "cancelled" : failure_ ? "failed" : "completed";
  if (failure_ && !cancelled_) {
    end.failure = protocol::Word(failure_->failure);
    end.message = failure_->message;
    end.hint = failure_->hint;
  }
  services_.bus.Publish(RunOver{Ref(), end, Between(claimed_at_, services_.clock.Monotonic())});
  return end;
}

void Session::Begin(const SessionStep& named) {
  if (!journal_) return;
  LogUnnoted(journal_->NoteStep(named.name, StepPhase::kBegun), claim_.run_id,
             "a step could not be noted: a receipt made after a kill names the one before it");
}

void Session::Do(void (Session::*step)(), const SessionStep& named) {
  Begin(named);
  // These steps are taken whatever happened before them; one that fails is a failure of the run.
  if (auto failure = FaultAt(named.before)) Fail(std::move(*failure));
  (this->*step)();
  if (auto failure = FaultAt(named.after)) Fail(std::move(*failure));
}

bool Session::Take(Step step, const SessionStep& named) {
  if (halt_.stop_requested()) {
    std::lock_guard lock(cause_mutex_);
    if (guard_failure_) {
      Fail(*guard_failure_);
    } else {
      cancelled_ = true;
    }
    return false;
  }
  Begin(named);
  std::optional<RunFailure> failure = FaultAt(named.before);
  if (!failure) failure = (this->*step)();
  if (!failure) failure = FaultAt(named.after);
  if (failure) {
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
  if (auto fresh = ticket_.TakeUnnoted(); fresh && journal_)
    LogUnnoted(journal_->NoteToken(*fresh), claim_.run_id, kUnnotedToken);
  log_context_->SetStep(StepName(step));
  const auto now = services_.clock.Monotonic();
  StepReached reached{Ref(), step, Between(std::exchange(step_at_, now), now)};
  if (step == runner::Step::kClaimed) reached.queued = QueueTime(claim_.events);
  services_.bus.Publish(reached);
}

}  // namespace writ::runner
