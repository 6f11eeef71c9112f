#include "engine/interrupted.h"

#include <fcntl.h>

#include <algorithm>

#include "session/mapped_file.h"
#include "writ/base/file.h"
#include "writ/base/log.h"
#include "writ/base/paths.h"
#include "writ/protocol/events.h"

namespace writ::runner {
namespace {

namespace events = protocol::events;

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
                   {"started", run.started.has_value()},
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
    Result<MappedFile> spooled = MappedFile::Open(*file);
    if (!spooled || spooled->bytes().empty() ||
        spooled->bytes().size() > services.config.limits.max_blob_bytes)
      continue;
    const std::string_view bytes = spooled->bytes();
    const protocol::Digest digest = protocol::Sha256(bytes);
    Result<UniqueFd> kept = OpenBeneath(services.sessions_dir, folder + "out/" + digest.ToHex(),
                                        O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (Status stored = kept ? WriteAll(kept->get(), bytes) : Status(kept.error()); !stored) {
      log::Warn("runner.journal", "the output of an interrupted run could not be kept",
                {{"run", run.claim.run_id.text()}, {"code", stored.error().code}});
      continue;
    }
    uploads.push_back({protocol::ArtifactKind::kLog, std::string(protocol::kDataClassSessionLog),
                       digest, bytes.size(), false, ""});
  }
  return uploads;
}

RunEnd EndOf(const Ending& ending) {
  RunEnd end;
  end.status = ending.cancelled_by ? "cancelled" : ending.failure ? "failed" : "completed";
  if (end.status != "failed") return end;
  end.failure = protocol::Word(ending.failure->failure);
  end.message = ending.failure->message;
  end.hint = ending.failure->hint;
  return end;
}

void Tell(const SessionServices& services, const OpenRun& run, RunEnd end) {
  const std::int64_t ms = services.clock.Now().unix_ms - run.claimed_at.unix_ms;
  services.bus.Publish(RunOver{RunRef{run.claim.run_id.text(), run.claim.slot}, std::move(end),
                               std::chrono::milliseconds(std::max<std::int64_t>(0, ms))});
}

}  // namespace

Result<Taken> Take(SessionServices& services, OpenRun run) {
  Taken taken{std::move(run), nullptr, nullptr, nullptr};
  taken.ticket = std::make_unique<ClaimTicket>(taken.run.claim_token.Clone());
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

void TellRunOver(const SessionServices& services, const OpenRun& run) {
  if (run.receipt) {
    RunEnd end;
    end.status = run.receipt->FindString("status").value_or("failed");
    if (!run.events.empty() && end.status == "failed")
      end.failure = run.events.back().event.FindString("failure").value_or("");
    Tell(services, run, std::move(end));
  } else if (run.ending) {
    if (Result<Ending> ending = Ending::Parse(*run.ending)) Tell(services, run, EndOf(*ending));
  }
}

Status CloseInterrupted(SessionServices& services, Taken& taken, const LastFacts& facts) {
  const OpenRun& run = taken.run;
  const std::string where = run.step.empty()      ? "before its first step"
                            : run.step == "watch" ? "while its job was at work"
                                                  : "during its step \"" + run.step + "\"";
  const bool had_job = !run.place.backend.empty();
  std::string message = "the runner ended while the run was in work, " + where;
  message += !had_job ? "; its job had not been started"
             : facts.leaks.empty()
                 ? "; its job was ended with it"
                 : "; of its job something is left, or may be: " + facts.leaks.front();
  taken.chain->EmitOurs(events::Finding(
      "session.interrupted",
      message + (facts.job.empty() ? "" : " (its supervisor wrote down: " + facts.job + ")")));
  if (had_job) taken.chain->EmitOurs(events::SessionClosed(facts.leaks, std::nullopt));
  Ending ending;
  if (run.started) {
    WRIT_ASSIGN(ending, Ending::Parse(*run.started));
  }
  ending.failure =
      RunFailure{protocol::FailureClass::kSessionFailed, "session.interrupted", std::move(message),
                 had_job ? "what its job had printed is its log (`writ artifacts RUN "
                           "--log`); run it again where it may be done twice"
                         : "run it again: its job had not been started"};
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
    if (!uploads.empty()) {
      WRIT_TRY(taken.chain->NoteCollected(ending.ToJson(), uploads));
      Tell(services, run, EndOf(ending));
      return {};
    }
  }
  WRIT_ASSIGN(json::Value receipt, SignEnding(taken.Parts(services, nullptr, {}), ending));
  WRIT_TRY(taken.chain->Note());
  taken.run.receipt = std::move(receipt);
  Tell(services, run, EndOf(ending));
  return {};
}

}  // namespace writ::runner
