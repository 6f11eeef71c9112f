#include "session/session.h"

#include "writ/base/log.h"
#include "writ/protocol/events.h"

namespace writ::runner {

Session::Session(SessionServices& services, PlaneClient& plane, ClaimAnswer claim,
                 Vocabulary vocabulary, unsigned slot, std::stop_token cancel)
    : services_(services),
      plane_(plane),
      claim_(std::move(claim)),
      ticket_(claim_.claim_token.Clone()),
      vocabulary_(vocabulary),
      slot_(slot),
      cancel_(std::move(cancel)),
      contract_hash_(protocol::HashWithout(claim_.contract, "signatures")) {}

Session::~Session() = default;

RunEnd Session::Run() {
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
  if (cancel_.stop_requested()) {
    cancelled_ = true;
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
