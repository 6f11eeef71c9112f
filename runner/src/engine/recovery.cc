#include "engine/recovery.h"

#include <fcntl.h>
#include <unistd.h>

#include "engine/offers.h"
#include "journal/unnoted.h"
#include "writ/base/fault.h"
#include "writ/base/file.h"
#include "writ/base/log.h"
#include "writ/base/log_context.h"
#include "writ/base/paths.h"
#include "writ/protocol/events.h"

namespace writ::runner {
namespace {

namespace events = protocol::events;

constexpr std::chrono::milliseconds kSupervisorWait{10'000};

struct LastFacts {
  std::vector<std::string> leaks;
  std::string job;  // what its supervisor wrote down; empty: nothing
};

std::string Describe(const backends::Outcome& outcome) {
  std::string text(backends::OutcomeKindName(outcome.kind));
  if (outcome.status) text += " with " + std::to_string(outcome.status->ShellCode());
  return text;
}

LastFacts EndJob(SessionServices& services, const OpenRun& run) {
  LastFacts facts;
  if (run.backend.empty()) return facts;
  const std::string name = SessionDirs::NameFor(run.claim.run_id.text());
  if (run.session_name != name) {
    facts.leaks.push_back("directory: the journal names a session that is not this run's");  // L13
    return facts;
  }
  backends::Identity identity{.uid = getuid(), .gid = getgid()};
  if (services.config.uid_range) {
    uid_t uid = services.config.uid_range->first + run.claim.slot;
    identity = backends::Identity{.uid = uid, .gid = uid};
  }
  Result<backends::Backend*> backend = services.registry.Find(run.backend);
  if (!backend) {
    facts.leaks.push_back("process: its backend is not there any more");
    return facts;
  }
  auto recover = [&] {
    return (*backend)->Recover(run.claim.run_id.text(),
                               services.sessions_path + "/" + name + "/job", identity,
                               kSupervisorWait);
  };
  Result<backends::Recovered> recovered = recover();
  if (!recovered && !run.leftovers.empty()) {  // its supervisor did not leave by itself
    (*backend)->EndLeftovers(run.leftovers);
    recovered = recover();
  }
  if (!recovered) {
    facts.leaks.push_back("process: " + recovered.error().message);
    return facts;
  }
  for (const backends::Leak& leak : recovered->dismantled.leaks)
    facts.leaks.push_back(leak.kind + ": " + leak.what);
  if (recovered->outcome) facts.job = Describe(*recovered->outcome);
  return facts;
}

// A run in the hands of this process: its chain goes on where the journal has it.
struct Taken {
  OpenRun run;
  std::unique_ptr<RunJournal> journal;
  std::unique_ptr<ChainWriter> chain;

  FinishParts Parts(SessionServices& services, PlaneClient* plane, std::stop_token stop) {
    return FinishParts{services,
                       plane,
                       run.claim.run_id,
                       run.claim.contract,
                       *chain,
                       journal.get(),
                       [this] { return run.claim_token.Clone(); },
                       std::move(stop)};
  }
};

Result<Taken> Take(SessionServices& services, OpenRun run) {
  Taken taken{std::move(run), nullptr, nullptr};
  WRIT_ASSIGN(taken.journal, services.journal.Resume(taken.run.claim.run_id));
  const std::vector<protocol::Event>& before = taken.run.events;
  protocol::EventChain chain =
      before.empty()
          ? protocol::EventChain(protocol::HashWithout(taken.run.claim.contract, "signatures"))
          : protocol::EventChain(
                protocol::ChainHead{before.back().seq + 1, before.back().hash, before.back().ts});
  taken.chain = std::make_unique<ChainWriter>(
      services.clock, std::move(chain), before,
      taken.run.claim.extended ? Vocabulary::kExtended : Vocabulary::kBase, taken.journal.get());
  taken.chain->Resume(taken.run.delivery);
  return taken;
}

// What the operator's hook after-run is told of a run whose session cannot tell it any more. It may
// be told twice: nobody knows how far the hook of the dead process came.
void TellAfterRun(SessionServices& services, Taken& taken, const LastFacts& facts,
                  const RunFailure& failure) {
  const OpenRun& run = taken.run;
  // Before a contract is verified nothing was begun; behind these steps the hook had ended.
  for (std::string_view step : {"", "verify", "store", "upload", "conclude"})
    if (run.step == step) return;
  Gate gate;
  HookPoint point;
  point.hook = HookKind::kAfterRun;
  point.run = RunRef{run.claim.run_id.text(), run.claim.slot};
  point.facts =
      json::Object{{"contractHash", protocol::HashWithout(run.claim.contract, "signatures")},
                   {"status", "failed"},
                   {"started", !run.leftovers.empty()},
                   {"leaks", facts.leaks.size()},
                   {"failure", protocol::Word(failure.failure)},
                   {"code", failure.code},
                   {"recovered", true}};
  // The run's secrets are not known any more, so nothing can be looked for in what it prints.
  point.redact = [](std::string_view) { return std::string("[not shown]"); };
  point.gate = &gate;
  services.bus.Publish(point);
  for (const HookRecord& record : gate.records)
    taken.chain->EmitOurs(
        events::HookResult({.hook = HookName(record.hook),
                            .exit_code = record.exit_code,
                            .duration_ms = static_cast<std::uint64_t>(record.took.count()),
                            .veto = record.veto}));
}

// What the job had printed until its runner ended, as the log's upload: its spool is redacted, and
// bounded as a log is. Where it cannot be kept the run ends without it.
std::vector<JournalUpload> KeepOutput(SessionServices& services, const OpenRun& run) {
  std::vector<JournalUpload> uploads;
  const std::string folder = SessionDirs::NameFor(run.claim.run_id.text()) + "/private/";
  for (std::string_view spool : {SessionDirs::kSpool, SessionDirs::kStderrSpool}) {
    Result<UniqueFd> file =
        OpenBeneath(services.sessions_dir, folder + std::string(spool), O_RDONLY);
    if (!file) continue;
    Result<std::string> bytes = ReadAll(file->get(), services.config.limits.max_blob_bytes);
    if (!bytes || bytes->empty()) continue;
    const protocol::Digest digest = protocol::Sha256(*bytes);
    Result<UniqueFd> kept = OpenBeneath(services.sessions_dir, folder + "out/" + digest.ToHex(),
                                        O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (Status stored = kept ? WriteAll(kept->get(), *bytes) : Status(kept.error()); !stored) {
      log::Warn("runner.journal", "the output of an interrupted run could not be kept",
                {{"run", run.claim.run_id.text()}, {"code", stored.error().code}});
      continue;
    }
    uploads.push_back({protocol::ArtifactKind::kLog, std::string(protocol::kDataClassSessionLog),
                       digest, bytes->size(), false, ""});
  }
  return uploads;
}

// The receipt of a run that cannot go on, with what is known, on the disk; signed already unless
// its output goes to the plane first.
Status CloseInterrupted(SessionServices& services, Taken& taken, const LastFacts& facts) {
  const OpenRun& run = taken.run;
  const std::string where =
      run.step.empty() ? "before its first step" : "during its step \"" + run.step + "\"";
  const bool had_job = !run.backend.empty();
  std::string message = "the runner ended while the run was in work, " + where;
  message += had_job ? "; its job was ended with it" : "; its job had not been started";
  taken.chain->EmitOurs(events::Finding(
      "session.interrupted",
      message + (facts.job.empty() ? "" : " (its supervisor wrote down: " + facts.job + ")")));
  if (had_job) taken.chain->EmitOurs(events::SessionClosed(facts.leaks, std::nullopt));
  Ending ending;
  if (run.started) {
    WRIT_ASSIGN(ending, Ending::Parse(*run.started));
  }
  ending.failure = RunFailure{protocol::FailureClass::kSessionFailed, "session.interrupted",
                              std::move(message), "see the runner's log of that time"};
  TellAfterRun(services, taken, facts, *ending.failure);
  if (run.claim.extended) {
    json::Object last{{"step", run.step}, {"outputBytes", run.output_bytes}};
    if (run.step_at.unix_ms > 0) last.Set("at", FormatRfc3339(run.step_at));
    if (!facts.job.empty()) last.Set("job", facts.job);
    json::Object environment{{"key", "software"}};
    if (ending.environment) environment = std::move(ending.environment->object());
    environment.Set("interrupted", std::move(last))
        .Set("failureCode", ending.failure->code)
        .Set("failureMend", ending.failure->hint);
    ending.environment = std::move(environment);
  }
  if (run.started) {
    const std::vector<JournalUpload> uploads = KeepOutput(services, run);
    if (!uploads.empty()) return taken.chain->NoteCollected(ending.ToJson(), uploads);
  }
  WRIT_ASSIGN(json::Value receipt, SignEnding(taken.Parts(services, nullptr, {}), ending));
  WRIT_TRY(taken.chain->Note());
  taken.run.receipt = std::move(receipt);
  return {};
}

// What was collected, from the session's files, read and checked one at a time.
Status UploadFromFiles(SessionServices& services, const FinishParts& parts, const OpenRun& run,
                       const Ending& ending) {
  std::string bytes;
  return UploadCollected(
      parts, run.uploads, ending.blobs,
      [&](const protocol::Digest& digest) -> Result<std::string_view> {
        const std::string path =
            SessionDirs::NameFor(run.claim.run_id.text()) + "/private/out/" + digest.ToHex();
        WRIT_ASSIGN(UniqueFd file, OpenBeneath(services.sessions_dir, path, O_RDONLY));
        WRIT_ASSIGN(bytes, ReadAll(file.get(), services.config.limits.max_blob_bytes));
        if (protocol::Sha256(bytes) != digest)
          return Error{.kind = ErrorKind::kIntegrity,
                       .code = "session.output_lost",
                       .message = "what was collected did not survive the end of the runner"};
        return std::string_view(bytes);
      });
}

FinishFate LaterFate(const Error& error) {
  return error.kind == ErrorKind::kUnavailable && error.code != "plane.refused"
             ? FinishFate::kUnanswered
             : FinishFate::kLater;
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
    if (LaterFate(uploaded.error()) == FinishFate::kUnanswered ||
        uploaded.error().kind == ErrorKind::kCancelled)
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

void CloseOpenRuns(SessionServices& services) {
  Result<std::vector<OpenRun>> open = services.journal.FindOpen();
  if (!open) {
    log::Error("runner.journal", "the journal could not be read", {{"code", open.error().code}});
    return;
  }
  for (OpenRun& run : *open) {
    if (run.waiting) continue;
    WRIT_FAULT("recovery.found");
    const std::string id = run.claim.run_id.text();
    log::InRun in_run(OfStep("recovering", run));
    LastFacts facts = EndJob(services, run);
    for (const std::string& leak : facts.leaks)
      log::Error("runner.recovery_leak", "something of an earlier run is left",
                 {{"run", id}, {"what", leak}});
    WRIT_FAULT("recovery.ended");
    const bool closed_here = !run.receipt && !run.ending && !run.claim.offered;
    Result<Taken> taken = Take(services, std::move(run));
    Status noted = taken ? Status{} : Status(taken.error());
    if (noted && closed_here) noted = CloseInterrupted(services, *taken, facts);
    if (noted) noted = DiscardUnlessNeeded(services, taken->run.claim.run_id);
    WRIT_FAULT("recovery.closed");
    if (noted)
      noted = taken->journal->NoteWaiting(
          Error{.code = "runner.interrupted", .message = "the runner ended before it was told"});
    if (!noted)
      log::Error("runner.journal", "a run of an earlier process could not be closed",
                 {{"run", id}, {"code", noted.error().code}});
  }
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
  if (Status ready = Sign(services, parts, *taken); !ready)
    return later(taken->journal.get(), ready.error());
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
