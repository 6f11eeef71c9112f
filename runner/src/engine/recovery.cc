#include "engine/recovery.h"

#include <fcntl.h>

#include <algorithm>

#include "engine/interrupted.h"
#include "engine/offers.h"
#include "journal/unnoted.h"
#include "session/mapped_file.h"
#include "writ/base/fault.h"
#include "writ/base/log.h"
#include "writ/base/log_context.h"
#include "writ/base/paths.h"

namespace writ::runner {
namespace {

// What was collected, from the session's files, read and checked one at a time.
Status UploadFromFiles(SessionServices& services, const FinishParts& parts, const OpenRun& run,
                       const Ending& ending) {
  MappedFile mapped;
  return UploadCollected(
      parts, run.uploads, ending.blobs,
      [&](const protocol::Digest& digest) -> Result<std::string_view> {
        const std::string path =
            SessionDirs::NameFor(run.claim.run_id.text()) + "/private/out/" + digest.ToHex();
        WRIT_ASSIGN(UniqueFd file, OpenBeneath(services.sessions_dir, path, O_RDONLY));
        WRIT_ASSIGN(mapped, MappedFile::Open(file));
        if (protocol::Sha256(mapped.bytes()) != digest)
          return Error{.kind = ErrorKind::kIntegrity,
                       .code = "session.output_lost",
                       .message = "what was collected did not survive the end of the runner"};
        return mapped.bytes();
      });
}

FinishFate LaterFate(const Error& error) {
  return AsksToWait(error) ? FinishFate::kUnanswered : FinishFate::kLater;
}

// False: not ours.
Result<bool> SettleOffer(SessionServices& services, PlaneClient& plane, OpenRun& run) {
  WRIT_ASSIGN(bool ours, ResolveOffer(services, plane, run));
  WRIT_ASSIGN(std::unique_ptr<RunJournal> journal, services.journal.Resume(run.claim.run_id));
  if (!ours) {
    WRIT_TRY(journal->Close());
    return false;
  }
  WRIT_TRY(journal->NoteAcknowledged(run.claim.events));
  run.delivery = {run.events.size(), 0};
  return true;
}

// Up to a signed receipt that is on the disk.
Status Sign(SessionServices& services, const FinishParts& parts, Taken& taken) {
  if (taken.run.receipt) return {};
  if (!taken.run.ending) return CloseInterrupted(services, taken, {});  // never had a job
  WRIT_ASSIGN(Ending ending, Ending::Parse(*taken.run.ending));
  if (Status uploaded = UploadFromFiles(services, parts, taken.run, ending); !uploaded) {
    if (AsksToWait(uploaded.error()) || uploaded.error().kind == ErrorKind::kCancelled)
      return uploaded;
    if (!ending.failure)
      ending.failure =
          FailureFrom(std::move(uploaded).error(), protocol::FailureClass::kTransferFailed);
  }
  WRIT_ASSIGN(json::Value receipt, SignEnding(parts, ending));
  WRIT_TRY(taken.chain->Note());
  taken.run.receipt = std::move(receipt);
  return {};
}

// The plane answered that there is nothing to complete. Where this receipt may have been sent
// before, an older plane says by that that it has it.
bool MayHaveIt(const Taken& taken, const Error& error) {
  return error.kind == ErrorKind::kConflict && error.code != "plane.run_ended" &&
         std::max(taken.run.delivery.in_doubt, taken.run.delivery.sent) >= taken.run.events.size();
}

// An upload may take longer than a lease lasts, and the plane gives up whose lease is not renewed.
std::unique_ptr<Lease> HoldWhileUploading(SessionServices& services, Taken& taken) {
  const OpenRun& run = taken.run;
  const bool uploads = !run.receipt && run.ending &&
                       std::any_of(run.uploads.begin(), run.uploads.end(),
                                   [](const JournalUpload& upload) { return !upload.uploaded; });
  if (!uploads || taken.chain->vocabulary() != Vocabulary::kExtended) return nullptr;
  return std::make_unique<Lease>(
      services.config, services.identity.token, services.clock, run.claim.run_id, LeaseTerms{},
      *taken.ticket, services.liveness,
      Lease::Listener{.on_cancel = {},  // its job has ended
                      .on_loss =
                          [&services](LeaseLoss loss, const std::string&) {
                            if (loss == LeaseLoss::kRevoked && services.on_revoked)
                              services.on_revoked();
                          },
                      .on_rotation = services.on_rotation});
}

// Whose lines these are, of a run that has no session here.
std::shared_ptr<const log::RunContext> OfStep(const char* step, const OpenRun& run) {
  auto context = LogContextOf(run.claim.run_id, run.claim.contract);
  context->SetStep(step);
  return context;
}

// The files of a run, unless what is in them has still to be uploaded.
Status DiscardUnlessNeeded(SessionServices& services, const protocol::RunId& id) {
  WRIT_ASSIGN(OpenRun run, services.journal.Read(id));
  if (!run.ending || run.receipt || run.uploads.empty())
    services.cleaner.Discard(SessionDirs::NameFor(id.text()));
  return {};
}

}  // namespace

SlotsOut CloseOpenRuns(SessionServices& services) {
  SlotsOut out;
  LookAgain(services, out);
  Result<std::vector<OpenRun>> open = services.journal.FindOpen();
  if (!open) {
    log::Error("runner.journal", "the journal could not be read", {{"code", open.error().code}});
    return out;
  }
  for (OpenRun& run : *open) {
    if (run.waiting) continue;
    WRIT_FAULT("recovery.found");
    const std::string id = run.claim.run_id.text();
    log::InRun in_run(OfStep("recovering", run));
    const LastFacts facts = EndJob(services, run.place, out);
    WRIT_FAULT("recovery.ended");
    const bool closed_here = !run.receipt && !run.ending && !run.claim.offered;
    Result<Taken> taken = Take(services, std::move(run));
    Status noted = taken ? Status{} : Status(taken.error());
    if (noted && !facts.leaks.empty()) noted = taken->journal->NoteLeft();
    if (noted && closed_here) noted = CloseInterrupted(services, *taken, facts);
    if (noted && !closed_here) TellRunOver(services, taken->run);
    if (noted) noted = DiscardUnlessNeeded(services, taken->run.claim.run_id);
    WRIT_FAULT("recovery.closed");
    if (noted)
      noted = taken->journal->NoteWaiting(
          Error{.code = "runner.interrupted", .message = "the runner ended before it was told"});
    if (!noted)
      log::Error("runner.journal", "a run of an earlier process could not be closed",
                 {{"run", id}, {"code", noted.error().code}});
  }
  return out;
}

FinishFate FinishWaitingRun(SessionServices& services, PlaneClient& plane,
                            const protocol::RunId& id, std::stop_token stop) {
  auto later = [&](RunJournal* journal, const Error& why) {
    if (journal != nullptr && why.kind != ErrorKind::kCancelled)
      LogUnnoted(journal->NoteWaiting(why), id,
                 "why a receipt waits could not be noted: an older reason is shown");
    log::Debug("runner.waiting", "a receipt waits on",
               {{"run", id.text()}, {"code", why.code}, {"error", why.ToString()}});
    return LaterFate(why);
  };
  Result<OpenRun> run = services.journal.Read(id);
  if (!run) return FinishFate::kLater;
  log::InRun in_run(OfStep("delivering", *run));
  if (run->claim.offered) {
    Result<bool> ours = SettleOffer(services, plane, *run);
    if (!ours) return later(nullptr, ours.error());
    if (!*ours) return FinishFate::kDone;
  }
  Result<Taken> taken = Take(services, std::move(*run));
  if (!taken) return FinishFate::kLater;
  const FinishParts parts = taken->Parts(services, &plane, stop);
  std::unique_ptr<Lease> lease = HoldWhileUploading(services, *taken);
  Status ready = Sign(services, parts, *taken);
  if (auto fresh = taken->ticket->TakeUnnoted())
    LogUnnoted(taken->journal->NoteToken(*fresh), id, kUnnotedToken);
  if (!ready) return later(taken->journal.get(), ready.error());
  if (lease) lease->ExpectEnd();
  Status delivered = DeliverReceipt(parts, *taken->run.receipt);
  if (!delivered && MayHaveIt(*taken, delivered.error())) delivered = {};
  if (!delivered && JudgeDelivery(delivered.error()) == Delivery::kLater)
    return later(taken->journal.get(), delivered.error());
  services.cleaner.Discard(SessionDirs::NameFor(id.text()));
  if (!delivered)
    return ParkRun(parts, *taken->run.receipt, delivered.error()) ? FinishFate::kDone
                                                                  : FinishFate::kLater;
  log::Info("runner.delivered", "a receipt that had waited is with the plane",
            {{"run", id.text()}});
  return taken->journal->Close() ? FinishFate::kDone : FinishFate::kLater;
}

}  // namespace writ::runner
