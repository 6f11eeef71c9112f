// Redact -> store what was collected -> upload by disclosure -> sign -> deliver, or hand over.
#include <fcntl.h>
#include <unistd.h>

#include "engine/courier.h"
#include "journal/unnoted.h"
#include "session/session.h"
#include "writ/base/file.h"
#include "writ/base/log.h"
#include "writ/base/paths.h"
#include "writ/protocol/canonical.h"
#include "writ/protocol/events.h"

namespace writ::runner {

using protocol::ArtifactKind;
using protocol::Disclosure;
using protocol::FailureClass;

namespace events = protocol::events;

namespace {

constexpr std::string_view kUnclosed =
    "a run whose receipt is stored could not be closed: the next start sends the receipt again";

Error ErrorOf(LeaseLoss loss) {
  const char* code = loss == LeaseLoss::kRevoked     ? "plane.revoked"
                     : loss == LeaseLoss::kForgotten ? "plane.forgotten"
                                                     : "plane.run_ended";
  const char* what = loss == LeaseLoss::kRevoked     ? "this runner was revoked"
                     : loss == LeaseLoss::kForgotten ? "the plane does not know the run any more"
                                                     : "the plane had closed the run";
  return Error{.kind = ErrorKind::kConflict, .code = code, .message = what};
}

}  // namespace

void Session::AddArtifact(ArtifactKind kind, std::string_view data_class, std::string bytes) {
  if (bytes.empty()) return;
  JournalUpload upload{kind, std::string(data_class), protocol::Sha256(bytes), bytes.size(), false,
                       ""};
  artifacts_.emplace(upload.digest, std::move(bytes));
  uploads_.push_back(std::move(upload));
}

void Session::GatherArtifacts() {
  if (!plan_ || !redactor_ || plan_->disclosure == Disclosure::kNone) return;
  if (collected_ && (!collected_->secret_found || plan_->secret_in_diff == SecretInDiff::kRedact)) {
    const bool redact = collected_->secret_found;
    auto told = [&](std::string& diff) {
      return redact ? redactor_->Redact(diff) : std::move(diff);
    };
    const bool against_base = !collected_->diff.empty();
    AddArtifact(ArtifactKind::kDiff, protocol::kDataClassCodeDiff, told(collected_->diff));
    // Input -> final, for a pull onto the captured state; planes without the extension expect one
    // diff. Where there is nothing against the base and no blob leaves, its hash alone could only
    // be taken for that of the other.
    if (vocabulary_ == Vocabulary::kExtended &&
        (against_base || plan_->disclosure != Disclosure::kMetadataOnly))
      AddArtifact(ArtifactKind::kDiff, protocol::kDataClassCodeDelta, told(collected_->delta));
  }
  for (auto* log : {&out_log_, &err_log_})
    if (*log)
      AddArtifact(ArtifactKind::kLog, protocol::kDataClassSessionLog, std::move((*log)->bytes));
  uploads_.insert(uploads_.end(), declared_.begin(), declared_.end());
  if (vocabulary_ == Vocabulary::kBase && started_ &&
      plan_->disclosure != Disclosure::kMetadataOnly) {
    json::Object trace{{"version", "writ.trace.v1"},
                       {"runId", claim_.run_id},
                       {"environment", EnvironmentRecord()},
                       {"events", chain_->Trace()}};
    AddArtifact(ArtifactKind::kTrace, protocol::kDataClassArtifact,
                json::CanonicalBytes(std::move(trace)));
  }
}

Status Session::StoreCollected() {
  for (const auto& [digest, bytes] : artifacts_) {
    WRIT_ASSIGN(UniqueFd file,
                OpenBeneath(dirs_->out.get(), digest.ToHex(), O_WRONLY | O_CREAT | O_TRUNC, 0600));
    WRIT_TRY(WriteAll(file.get(), bytes));
  }
  return chain_->NoteCollected(MakeEnding().ToJson(), uploads_);
}

// From here on another process can finish the run: what was collected lies in files, and the
// journal knows of them and of how the run ends. A disk that takes neither costs only that.
void Session::Store() {
  GatherArtifacts();
  // What the job wrote is not needed any more, and may be all that the disk had room for: the
  // journal's, and that of a plane beside us.
  if (dirs_) services_.cleaner.DiscardPart(dirs_->name, std::string(SessionDirs::kTree));
  if (!started_ || !journal_) return;
  Status stored = StoreCollected();
  if (!stored) {
    services_.cleaner.WaitIdle();
    stored = StoreCollected();
  }
  stored_ = stored.has_value();
  // A half of it helps nobody, and the room may be what the plane waits for.
  if (!stored)
    for (const auto& [digest, bytes] : artifacts_)
      ::unlinkat(dirs_->out.get(), digest.ToHex().c_str(), 0);
  for (LiveSpool* spool : {spool_.get(), stderr_spool_.get()})
    if (spool != nullptr) spool->Empty();
  if (!stored)
    log::Warn("runner.journal", "what was collected could not be stored; it goes to the plane only",
              {{"run", claim_.run_id.text()}, {"code", stored.error().code}});
}

FinishParts Session::Parts() {
  FinishParts parts{services_,
                    &plane_,
                    claim_.run_id,
                    claim_.contract,
                    *chain_,
                    journal_.get(),
                    [this] { return ticket_.Get(); },
                    services_.leave};
  parts.renewed = [this](Secret fresh) { ticket_.Renew(std::move(fresh)); };
  return parts;
}

ProgressListener Session::FarProgress() {
  if (vocabulary_ != Vocabulary::kExtended || plan_->disclosure == Disclosure::kNone) return {};
  if (!progress_) progress_.emplace(services_.config, services_.clock, claim_.run_id, ticket_);
  return [this](const Progress& progress) { progress_->Show(progress); };
}

Ending Session::MakeEnding() {
  Ending ending;
  if (cancelled_) {
    std::lock_guard lock(cause_mutex_);
    ending.cancelled_by = cancelled_by_ ? *cancelled_by_
                                        : protocol::Actor{protocol::ActorKind::kService,
                                                          services_.identity.runner_id.text()};
  }
  ending.failure = failure_;
  if (plan_) {
    ending.isolation = protocol::Word(plan_->tier);
    if (plan_->disclosure == Disclosure::kMetadataOnly) ending.blobs = BlobPolicy::kOnlyHashes;
  }
  if (vocabulary_ == Vocabulary::kExtended) ending.environment = EnvironmentRecord();
  return ending;
}

void Session::Upload() {
  if (uploads_.empty()) return;
  FinishParts parts = Parts();
  if (plan_) parts.progress = FarProgress();
  Status uploaded =
      UploadCollected(parts, uploads_, MakeEnding().blobs,
                      [this](const protocol::Digest& digest) { return BytesOf(digest); });
  progress_.reset();
  if (uploaded) return Tell(runner::Step::kUploaded);
  const bool given_up = uploaded.error().kind == ErrorKind::kCancelled;  // L40
  if ((given_up || AsksToWait(uploaded.error())) && stored_) {
    upload_waits_ = true;
    return HandOver(uploaded.error());
  }
  Fail(FailureFrom(std::move(uploaded).error(), FailureClass::kTransferFailed));
}

void Session::Conclude() {
  if (handed_over_) return;
  if (lease_) {
    if (auto gap = lease_->gap())
      chain_->EmitOurs(events::Finding("lease.gap", "the plane did not renew the run's lease for " +
                                                        std::to_string(gap->count()) + " ms"));
  }
  Result<json::Value> receipt = SignEnding(Parts(), MakeEnding());
  if (!receipt) {
    log::Error("runner.sign", "the receipt could not be signed",
               {{"run", claim_.run_id.text()}, {"code", receipt.error().code}});
    return;
  }
  Status delivered = Deliver(*receipt);
  if (delivered) {
    Tell(runner::Step::kCompleted);
    Release();  // before the run leaves the journal: a killed runner's files are found by it
    if (journal_) LogUnnoted(journal_->Close(), claim_.run_id, kUnclosed);
    return;
  }
  if (JudgeDelivery(delivered.error()) == Delivery::kLater && journal_ && chain_->Note())
    return HandOver(delivered.error());
  Release();
  if (ParkRun(Parts(), *receipt, delivered.error())) Tell(runner::Step::kParked);
}

Status Session::Deliver(const json::Value& receipt) {
  if (lease_) {
    if (auto loss = lease_->final_loss()) return ErrorOf(*loss);
  }
  // In order: what waits goes first, and the courier is at it.
  if (services_.courier != nullptr && services_.courier->HasWaiting() && journal_)
    return Error{.kind = ErrorKind::kUnavailable,
                 .code = "runner.receipts_wait",
                 .message = "the receipts of earlier runs wait for the plane"};
  if (lease_) lease_->ExpectEnd();
  return DeliverReceipt(Parts(), receipt);
}

void Session::HandOver(const Error& why) {
  if (Status noted = journal_->NoteWaiting(why); !noted)
    log::Error("runner.journal", "that a receipt waits could not be noted; the next start sends it",
               {{"run", claim_.run_id.text()}, {"code", noted.error().code}});
  log::Warn("runner.waiting", "the plane could not be told how a run ended; it is told later",
            {{"run", claim_.run_id.text()}, {"code", why.code}, {"error", why.ToString()}});
  handed_over_ = true;
  Tell(runner::Step::kWaiting);
  if (services_.courier != nullptr) services_.courier->Wake();
}

// Bulk files go in the background; those that are still to be uploaded stay.
void Session::Release() {
  if (!dirs_) return;
  materialized_.reset();
  if (!upload_waits_) services_.cleaner.Discard(dirs_->name);
  dirs_.reset();
}

}  // namespace writ::runner
