#include "access/session_door.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <chrono>

#include "access/attach_relay.h"
#include "access/copy_record.h"
#include "writ/base/log.h"
#include "writ/protocol/events.h"
#include "writ/protocol/execution.h"

namespace writ::runner {

namespace events = protocol::events;
using std::chrono::steady_clock;

namespace {

Error NotGranted(const char* what, const char* grant) {
  return Error{ErrorKind::kDenied, "access.not_granted",
               std::string("this runner's operator does not let anybody ") + what,
               std::string("grants.session.") + grant +
                   " in runner.json; it holds for runs that begin afterwards"};
}

json::Value FailureJson(const Error& error) {
  return json::Object{{"code", error.code},
                      {"message", json::ToWellFormedUtf8(error.message)},
                      {"hint", json::ToWellFormedUtf8(error.hint)}};
}

protocol::Digest ArgvHash(const AccessRequest& request) {
  protocol::PreparedExecution execution;
  execution.cmd = request.argv.front();
  execution.args.assign(request.argv.begin() + 1, request.argv.end());
  execution.cwd = request.cwd.empty() ? "." : request.cwd;
  return execution.ExecutionHash();
}

// What a copy of `path` out of a session is called.
std::string NameOf(std::string path, const std::string& workspace) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  if (path == ".") path = workspace;
  return path.substr(path.rfind('/') + 1);
}

}  // namespace

// One use, as the chain tells it.
struct SessionDoor::Use {
  std::uint64_t number = 0;
  AccessRequest::Mode mode = AccessRequest::Mode::kExec;
  steady_clock::time_point begun = steady_clock::now();
  std::optional<ExitStatus> status;
  std::string reason;
  std::uint64_t bytes_in = 0, bytes_out = 0;
};

SessionDoor::SessionDoor(AccessServer& server, DoorParts parts)
    : server_(server), parts_(std::move(parts)), over_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  server_.Open(parts_.run_id, *this);
}

SessionDoor::~SessionDoor() {
  Close();
}

void SessionDoor::Close() {
  if (!open_) return;
  open_ = false;
  for (LiveSpool* spool : {parts_.out, parts_.err})
    if (spool != nullptr) spool->Complete();
  server_.Close(parts_.run_id);
}

void SessionDoor::Hurry() {
  ::eventfd_write(over_.get(), 1);
}

Status SessionDoor::CheckGrant(const AccessRequest& request) const {
  switch (request.mode) {
    case AccessRequest::Mode::kExec:
      if (!parts_.grants.exec) return NotGranted("run commands in its sessions", "exec");
      return {};
    case AccessRequest::Mode::kCopy:
      if (!parts_.grants.copy) return NotGranted("copy files of its sessions", "copy");
      return {};
    case AccessRequest::Mode::kAttach:
      if (!parts_.grants.attach) return NotGranted("see its jobs' output", "attach");
      if (request.input && !parts_.grants.input)
        return NotGranted("type at its jobs' terminals", "input");
      return {};
    case AccessRequest::Mode::kPause:
    case AccessRequest::Mode::kResume:
      if (!parts_.grants.pause) return NotGranted("pause its jobs", "pause");
      return {};
    case AccessRequest::Mode::kCheckpoint:
      if (!parts_.grants.checkpoint)
        return NotGranted("take checkpoints of its jobs", "checkpoint");
      return CheckCheckpoint();
  }
  return {};
}

// What leaves the runner by it is what leaves by the run's diff, and beside it files that git
// ignores.
Status SessionDoor::CheckCheckpoint() const {
  if (!parts_.can_pause)
    return Error{ErrorKind::kUnsupported, "access.no_checkpoint",
                 "this run's tier has no machine whose files could be kept",
                 "run it in one: writ run --isolation microvm"};
  if (parts_.disclosure == protocol::Disclosure::kNone ||
      parts_.disclosure == protocol::Disclosure::kMetadataOnly)
    return Error{ErrorKind::kDenied, "access.undisclosed",
                 "this run's contract lets nothing of its files leave the runner",
                 "writ run --disclosure minimal-context"};
  return {};
}

// Noted on the disk before it is done: whatever happens to this process, it is in the chain.
Status SessionDoor::Begin(const AccessRequest& request, const protocol::Actor& actor, Use& use) {
  use.number = ++uses_;
  use.mode = request.mode;
  events::SessionEntry entry;
  entry.use = use.number;
  entry.mode = AccessModeName(request.mode);
  entry.actor = actor;
  entry.terminal = request.terminal.has_value();
  entry.input = request.input;
  if (request.mode == AccessRequest::Mode::kExec) entry.argv_hash = ArgvHash(request);
  parts_.chain.EmitOurs(events::SessionEntered(entry));
  log::Info("access.entered", "somebody went into a session",
            {{"run", parts_.run_id}, {"mode", entry.mode}, {"actor", actor.id}});
  if (Status noted = parts_.chain.Note(); !noted)
    return Error{ErrorKind::kUnavailable, "access.not_noted",
                 "the use could not be noted in the runner's journal, so nothing was done",
                 "see `writ runner status`: the disk may be full"};
  return {};
}

void SessionDoor::End(const Use& use) {
  events::SessionLeaving leaving;
  leaving.use = use.number;
  leaving.mode = AccessModeName(use.mode);
  if (use.status) {
    leaving.exit_code = use.status->ShellCode();
    if (use.status->signalled) leaving.signal = use.status->signal;
  }
  leaving.reason = use.reason;
  leaving.duration_ms = static_cast<std::uint64_t>(std::max<std::int64_t>(
      1, std::chrono::duration_cast<std::chrono::milliseconds>(steady_clock::now() - use.begun)
             .count()));
  leaving.bytes_in = use.bytes_in;
  leaving.bytes_out = use.bytes_out;
  parts_.chain.EmitOurs(events::SessionLeft(leaving));
}

void SessionDoor::Serve(const AccessRequest& request, AccessChannel& channel,
                        const protocol::Actor& actor) {
  auto fail = [&](const Error& error) {
    (void)channel.Send(AccessWord::kFailed, json::Write(FailureJson(error)), over_.get())
        .has_value();
  };
  if (Status granted = CheckGrant(request); !granted) return fail(granted.error());
  if (request.mode == AccessRequest::Mode::kPause || request.mode == AccessRequest::Mode::kResume)
    return Turn(request, channel, actor);
  Use use;
  Status done = Begin(request, actor, use);
  if (done) {
    switch (request.mode) {
      case AccessRequest::Mode::kExec:
        done = Exec(request, channel, use);
        break;
      case AccessRequest::Mode::kAttach:
        done = Attach(request, channel, use);
        break;
      case AccessRequest::Mode::kCopy:
        done = Copy(request, channel, use);
        break;
      case AccessRequest::Mode::kCheckpoint:
        done = TakeCheckpointOfJob(channel, use);
        break;
      case AccessRequest::Mode::kPause:
      case AccessRequest::Mode::kResume:
        break;  // above
    }
  }
  if (!done) use.reason = done.error().code;
  End(use);
  if (!done) fail(done.error());
}

// In the chain once it is so: a pause that fails is the run's end, which says why.
Status SessionDoor::DoTurn(AccessRequest::Mode mode, const protocol::Actor& actor) {
  const bool pause = mode == AccessRequest::Mode::kPause;
  if (!parts_.can_pause)
    return Error{ErrorKind::kUnsupported, "access.no_pause",
                 "this run's tier has no machine that could stand still",
                 "run it in one: writ run --isolation microvm"};
  WRIT_TRY(pause ? parts_.job.Pause() : parts_.job.Resume());
  if (pause) {
    still_since_ = steady_clock::now();
    parts_.chain.EmitOurs(events::SessionPaused(actor));
  } else {
    const auto still = steady_clock::now() - still_since_.value_or(steady_clock::now());
    still_since_.reset();
    parts_.chain.EmitOurs(events::SessionResumed(
        actor, static_cast<std::uint64_t>(
                   std::chrono::duration_cast<std::chrono::milliseconds>(still).count())));
  }
  if (parts_.on_stillness) parts_.on_stillness(pause);
  log::Info(pause ? "access.paused" : "access.resumed",
            pause ? "a job's machine stands still" : "a job's machine goes on",
            {{"run", parts_.run_id}, {"actor", actor.id}});
  if (Status noted = parts_.chain.Note(); !noted)
    log::Warn("access.not_noted", "a pause could not be noted in the journal yet",
              {{"run", parts_.run_id}, {"why", noted.error().message}});
  return {};
}

void SessionDoor::Turn(const AccessRequest& request, AccessChannel& channel,
                       const protocol::Actor& actor) {
  std::lock_guard lock(turning_);
  Status done = DoTurn(request.mode, actor);
  if (!done) {
    (void)channel.Send(AccessWord::kFailed, json::Write(FailureJson(done.error())), over_.get())
        .has_value();
    return;
  }
  Status told = channel.Send(AccessWord::kTaken,
                             json::Write(json::Object{{"runId", parts_.run_id}}), over_.get());
  if (told) told = channel.Send(AccessWord::kDone, "{}", over_.get());
  (void)told.has_value();
}

Status SessionDoor::Attach(const AccessRequest& request, AccessChannel& channel, Use& use) {
  LiveSpool* spool = request.stream == AccessRequest::Stream::kErrors ? parts_.err : parts_.out;
  if (spool == nullptr)
    return Error{ErrorKind::kUnsupported, "access.no_stream",
                 request.stream == AccessRequest::Stream::kErrors
                     ? "this job's standard error is not a stream of its own"
                     : "this job's output is not kept while it runs",
                 "writ run --separate-stderr"};
  std::unique_ptr<backends::TerminalInput> input;
  if (request.input) {
    WRIT_ASSIGN(input, parts_.job.OpenTerminalInput());
  }
  WRIT_TRY(channel.Send(AccessWord::kTaken,
                        json::Write(json::Object{{"runId", parts_.run_id},
                                                 {"from", request.from},
                                                 {"kept", spool->size()},
                                                 {"terminal", parts_.terminal},
                                                 {"input", request.input}}),
                        over_.get()));
  const AttachEnd end = RelayAttached(*spool, request.from, input.get(), channel, over_.get());
  use.reason = end.session_over ? "session ended" : "left";
  use.bytes_in = end.bytes_in;
  use.bytes_out = end.bytes_out;
  (void)channel
      .Send(AccessWord::kDone,
            json::Write(json::Object{{"offset", end.offset}, {"reason", use.reason}}), over_.get())
      .has_value();
  return {};
}

Status SessionDoor::Relay(EntryRelay& relay, AccessChannel& channel, Use& use,
                          std::string_view reason) {
  auto end = relay.Run();
  use.bytes_in = relay.bytes_in();
  use.bytes_out = relay.bytes_out();
  if (!end) return std::move(end).error();
  use.status = end->status;
  use.reason = end->status ? "" : "session ended";
  json::Object done;
  if (end->status) {
    done.Set("exitCode", end->status->ShellCode());
    if (end->status->signalled) done.Set("signal", end->status->signal);
  }
  if (!use.reason.empty()) done.Set("reason", use.reason);
  if (use.reason.empty() && !reason.empty()) done.Set("reason", reason);
  return channel.Send(AccessWord::kDone, json::Write(std::move(done)), over_.get());
}

Status SessionDoor::Exec(const AccessRequest& request, AccessChannel& channel, Use& use) {
  backends::EntryPlan plan;
  plan.argv = request.argv;
  plan.cwd = request.cwd;
  plan.terminal = request.terminal;
  for (const auto& [name, value] : request.vars) plan.env.vars.push_back({name, value});
  for (const backends::Variable& v : parts_.proxy.vars) plan.env.vars.push_back(v);
  for (const backends::SecretVariable& v : parts_.proxy.secrets)
    plan.env.secrets.push_back({v.name, v.value.Clone()});
  WRIT_ASSIGN(std::unique_ptr<backends::Entry> entry, parts_.job.Enter(std::move(plan)));
  WRIT_TRY(channel.Send(AccessWord::kTaken, json::Write(json::Object{{"runId", parts_.run_id}}),
                        over_.get()));
  EntryRelay relay(*entry, channel, over_.get());
  return Relay(relay, channel, use, {});
}

Status SessionDoor::Copy(const AccessRequest& request, AccessChannel& channel, Use& use) {
  const bool out = request.direction == AccessRequest::Direction::kOut;
  backends::EntryPlan plan;
  plan.kind = out ? backends::EntryPlan::Kind::kCopyOut : backends::EntryPlan::Kind::kCopyIn;
  plan.path = request.path;
  plan.limits = parts_.copy_limits;
  WRIT_ASSIGN(std::unique_ptr<backends::Entry> entry, parts_.job.Enter(std::move(plan)));
  const std::string name = out ? NameOf(request.path, parts_.job.WorkspacePath()) : std::string();
  WRIT_TRY(channel.Send(AccessWord::kTaken,
                        json::Write(json::Object{{"runId", parts_.run_id},
                                                 {"maxBytes", parts_.copy_limits.max_bytes},
                                                 {"maxFiles", parts_.copy_limits.max_entries}}),
                        over_.get()));
  EntryRelay relay(*entry, channel, over_.get());
  CopyRecord record(parts_.copy_limits, name);
  auto look = [&record](std::string_view bytes) { return record.Look(bytes); };
  out ? relay.LookAt({}, look) : relay.LookAt(look, {});
  Status done = Relay(relay, channel, use, record.failure());
  // Also of a copy that came to nothing: what was read left, what was written stands there.
  if (record.files() > 0) {
    events::FileCopy copy;
    copy.use = use.number;
    copy.direction = out ? protocol::Direction::kOut : protocol::Direction::kIn;
    const std::string shown = json::ToWellFormedUtf8(parts_.redactor.Redact(request.path));
    if (parts_.disclosure != protocol::Disclosure::kNone) copy.path = shown;
    copy.content_hash = record.ContentHash();
    copy.files = record.files();
    copy.bytes = record.bytes();
    copy.left_out = record.left_out();
    parts_.chain.EmitOurs(events::FileCopied(copy));
  }
  return done;
}

// The machine stays as it is: paused, it cannot say what it has.
Status SessionDoor::TakeCheckpointOfJob(AccessChannel& channel, Use& use) {
  std::lock_guard lock(turning_);
  WRIT_ASSIGN(const Checkpoint taken, parts_.keep_checkpoint([&](int file) -> Result<Checkpoint> {
    backends::EntryPlan plan;
    plan.kind = backends::EntryPlan::Kind::kCheckpoint;
    WRIT_ASSIGN(std::unique_ptr<backends::Entry> entry, parts_.job.Enter(std::move(plan)));
    return TakeCheckpoint(
        {*entry, parts_.redactor, parts_.max_checkpoint_bytes, file, over_.get()});
  }));
  use.bytes_out = taken.bytes;
  WRIT_TRY(channel.Send(AccessWord::kTaken,
                        json::Write(json::Object{{"runId", parts_.run_id},
                                                 {"checkpointId", taken.digest.ToHex()},
                                                 {"bytes", taken.bytes},
                                                 {"entries", taken.entries}}),
                        over_.get()));
  return channel.Send(AccessWord::kDone, "{}", over_.get());
}

}  // namespace writ::runner
