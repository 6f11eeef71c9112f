// runs, watch, approve, cancel, export.
#include <CLI/CLI.hpp>

#include <algorithm>
#include <memory>

#include "access.h"
#include "commands.h"
#include "context.h"
#include "duration.h"
#include "embedded.h"
#include "home.h"
#include "watch.h"
#include "writ/base/clock.h"
#include "writ/protocol/events.h"

namespace writ::cli {
namespace {

json::Object SummaryJson(const plane::RunSummary& run) {
  json::Object out{{"runId", run.run_id},
                   {"status", std::string(protocol::Word(run.status))},
                   {"agent", run.agent_kind},
                   {"pool", run.pool},
                   {"prompt", run.prompt},
                   {"requestedBy", run.requested_by.ToJson()},
                   {"createdAt", FormatRfc3339(run.created_at)},
                   {"updatedAt", FormatRfc3339(run.updated_at)},
                   {"consentRequirements", json::Value::Texts(run.consent_requirements)},
                   {"hasReceipt", run.has_receipt},
                   {"cancelRequested", run.cancel_requested}};
  if (!run.failure.empty()) out.Set("failure", run.failure);
  if (!run.closed_reason.empty()) {
    out.Set("lost", true);
    out.Set("closedBy", json::Object{{"kind", "plane"}, {"reason", run.closed_reason}});
  }
  if (!run.retry_of.empty()) out.Set("retryOf", run.retry_of);
  if (!run.retried_as.empty()) out.Set("retriedAs", run.retried_as);
  if (run.has_late_receipt) out.Set("lateReceipt", true);
  if (run.waiting) {
    json::Object waiting{{"code", json::ToWellFormedUtf8(run.waiting->code)},
                         {"message", json::ToWellFormedUtf8(run.waiting->message)}};
    if (!run.waiting->mend.empty()) waiting.Set("mend", json::ToWellFormedUtf8(run.waiting->mend));
    out.Set("waiting", std::move(waiting));
  }
  return out;
}

struct RunsCommand {
  Access access;
  std::string status;
  std::size_t limit = 50;
};

void ListRuns(Context& context, RunsCommand& command) {
  if (!command.status.empty() && !protocol::ParseRunState(command.status))
    return context.Fail(Error{
        ErrorKind::kInvalid, "cli.bad_status", "there is no run status '" + command.status + "'",
        "created, claimed, running, awaiting_approval, completed, failed or cancelled"});
  auto requester = command.access.Open(context);
  if (!requester) return context.Fail(requester.error());
  auto all = (*requester)->Runs();
  if (!all) return context.Fail(all.error());
  std::vector<plane::RunSummary> runs;
  for (plane::RunSummary& run : *all)
    if (command.status.empty() || protocol::Word(run.status) == command.status)
      runs.push_back(std::move(run));
  if (runs.size() > command.limit)
    runs.erase(runs.begin(), runs.end() - static_cast<std::ptrdiff_t>(command.limit));
  json::Array items;
  for (const plane::RunSummary& run : runs) {
    items.push_back(SummaryJson(run));
    std::string task = TerminalSafe(run.prompt.substr(0, 60));
    std::string status(run.closed_reason.empty() ? protocol::Word(run.status) : "lost");
    status.resize(std::max<std::size_t>(status.size(), 17), ' ');
    context.Print(run.run_id + "  " + status + "  " + FormatRfc3339(run.created_at) + "  " +
                  run.agent_kind + "  " + task +
                  (run.failure.empty() ? "" : "  (" + TerminalSafe(run.failure) + ")") + "\n");
    if (run.waiting) context.Print("    waits: " + TerminalSafe(run.waiting->message) + "\n");
    if (run.waiting && !run.waiting->mend.empty())
      context.Print("    mend:  " + TerminalSafe(run.waiting->mend) + "\n");
  }
  if (context.json) context.PrintJson(json::Object{{"runs", std::move(items)}});
  if (runs.empty()) context.Note("no runs");
}

struct ActCommand {
  Access access;
  std::string run_id;
  std::string as;
};

std::optional<plane::Actor> NamedActor(const ActCommand& command) {
  if (command.as.empty()) return std::nullopt;
  return plane::Actor{.id = command.as};
}

void ApproveRun(Context& context, ActCommand& command) {
  auto requester = command.access.Open(context);
  if (!requester) return context.Fail(requester.error());
  auto status = (*requester)->Approve(command.run_id, NamedActor(command));
  if (!status) return context.Fail(status.error());
  if (context.json)
    context.PrintJson(
        json::Object{{"runId", command.run_id}, {"status", std::string(protocol::Word(*status))}});
  context.Print("run " + command.run_id + " is " + std::string(protocol::Word(*status)) + "\n");
  if (command.access.local() && *status == plane::RunState::kCreated)
    context.Note("next: " + context.Command("watch " + command.run_id) +
                 "   (starts it here where no runner is serving this plane)");
}

// Of a run in work: where the runner of this directory that took it has gone without ending it.
std::optional<int> DesertedSeatOf(const Context& context, const plane::RunDetail& detail) {
  for (const std::string& text : detail.events) {
    const auto event = json::Parse(text);
    const json::Value* inner = event ? event->Find("event") : nullptr;
    if (inner == nullptr || inner->FindString("type") != protocol::events::kRunClaimed) continue;
    return Embedded::DesertedSeat(context.dir, detail.summary.pool,
                                  inner->FindString("runnerId").value_or(""));
  }
  return std::nullopt;
}

void CancelRun(Context& context, ActCommand& command) {
  auto requester = command.access.Open(context);
  if (!requester) return context.Fail(requester.error());
  auto result = (*requester)->Cancel(command.run_id, NamedActor(command));
  if (!result) return context.Fail(result.error());
  std::string status(protocol::Word(result->status));
  bool deserted = false;
  if (result->cancel_requested && command.access.local()) {
    auto detail = (*requester)->Run(command.run_id);
    deserted = detail && DesertedSeatOf(context, *detail).has_value();
  }
  if (context.json)
    context.PrintJson(json::Object{{"runId", command.run_id},
                                   {"status", status},
                                   {"cancelRequested", result->cancel_requested}});
  if (deserted)
    context.Note("the process that ran it is gone; end it with: " +
                 context.Command("watch " + command.run_id));
  context.Print(
      "run " + command.run_id +
      (result->cancel_requested ? ": its runner is told to stop\n" : " is " + status + "\n"));
}

struct WatchCommand {
  Access access;
  std::string run_id;
  std::string reconnect;  // as typed
};

void WatchOne(Context& context, WatchCommand& command) {
  auto reconnect = ParseReconnect(command.reconnect);
  if (!reconnect) return context.Fail(reconnect.error());
  auto requester = command.access.Open(context);
  if (!requester) return context.Fail(requester.error());
  auto detail = (*requester)->Run(command.run_id);
  if (!detail) return context.Fail(detail.error());
  std::unique_ptr<Embedded> embedded;
  if (command.access.local() && detail->summary.status == plane::RunState::kCreated) {
    // Nobody has claimed it. A runner of this directory's own serves exactly this run; where
    // another runner is quicker, ours finds nothing and the run is watched all the same.
    auto started = Embedded::Start(
        {.dir = context.dir, .pool = detail->summary.pool, .only_run = command.run_id},
        *command.access.plane(), command.access.clock());
    if (!started) return context.Fail(started.error());
    embedded = std::move(*started);
  }
  WatchOptions options{.on_interrupt = OnInterrupt::kLeaveRun,
                       .next = {.access = command.access.Arguments(), .repository = ""},
                       .reconnect = *reconnect,
                       .embedded = embedded.get()};
  if (command.access.local())
    options.take_over = [&](const plane::RunDetail& now) -> Result<std::unique_ptr<Embedded>> {
      const std::optional<int> seat = DesertedSeatOf(context, now);
      if (!seat) return std::unique_ptr<Embedded>();
      return Embedded::Start(
          {.dir = context.dir, .pool = now.summary.pool, .only_run = command.run_id, .seat = *seat},
          *command.access.plane(), command.access.clock());
    };
  context.exit_code =
      WatchRun(context, **requester, command.access.clock(), command.run_id, options);
}

}  // namespace

void AddRuns(CLI::App& app, Context& context) {
  auto runs = std::make_shared<RunsCommand>();
  CLI::App* list = app.add_subcommand("runs", "List runs and their states");
  list->add_option("--status", runs->status, "Only runs in this state");
  list->add_option("--limit", runs->limit, "At most so many, the newest")
      ->check(
          [](const std::string& text) {
            return text == "0" || text.starts_with('-') ? "must be 1 or more" : std::string();
          },
          "", "")
      ->capture_default_str();
  runs->access.AddOptions(*list);
  list->footer(
      "A run that nobody has claimed says why it waits, by what the runners of its pool say that "
      "they "
      "can do.\n\nExamples:\n  writ runs\n  writ runs --status awaiting_approval --json");
  list->callback([&context, runs] { ListRuns(context, *runs); });

  auto watch = std::make_shared<WatchCommand>();
  CLI::App* watcher =
      app.add_subcommand("watch", "Follow a run to its end, with its output as it happens");
  watcher->add_option("RUN", watch->run_id, "Run id")->required();
  AddReconnect(*watcher, watch->reconnect);
  watch->access.AddOptions(*watcher);
  watcher->footer(
      "A run of the local plane that nobody has claimed is started here, and one whose process "
      "was\n"
      "killed is ended here, with its receipt.\n"
      "Ctrl-C, SIGTERM and a closed terminal end the watching; the run goes on (`writ cancel RUN`\n"
      "ends it). A run that was started here ends with it: it is cancelled.\n"
      "While the plane is away it is asked again (--reconnect), and the output goes on where it\n"
      "was; a plane that stays away ends the watching with 6, and not the run.\n\n"
      "Examples:\n  writ watch run_1234\n  writ watch run_1234 --json\n\n"
      "Exit: as for `writ run`; 128 and the signal's number where a signal ended the watching.");
  watcher->callback([&context, watch] { WatchOne(context, *watch); });

  auto approve = std::make_shared<ActCommand>();
  CLI::App* approver = app.add_subcommand("approve", "Approve a run that waits for consent");
  approver->add_option("RUN", approve->run_id, "Run id")->required();
  approver->add_option("--as", approve->as, "Who approves, for the record of a local plane");
  approve->access.AddOptions(*approver);
  approver->footer("Examples:\n  writ approve run_1234\n  writ approve run_1234 --as alice");
  approver->callback([&context, approve] { ApproveRun(context, *approve); });

  auto cancel = std::make_shared<ActCommand>();
  CLI::App* canceller =
      app.add_subcommand("cancel", "Cancel a run; a running one is stopped by its runner");
  canceller->add_option("RUN", cancel->run_id, "Run id")->required();
  canceller->add_option("--as", cancel->as, "Who cancels, for the record of a local plane");
  cancel->access.AddOptions(*canceller);
  canceller->footer("Examples:\n  writ cancel run_1234");
  canceller->callback([&context, cancel] { CancelRun(context, *cancel); });
}

void AddExport(CLI::App& app, Context& context) {
  struct ExportCommand {
    Access access;
    std::string since;
  };
  auto options = std::make_shared<ExportCommand>();
  CLI::App* command =
      app.add_subcommand("export", "Write events and administrators' acts as JSON lines");
  command->add_option("--since", options->since,
                      "Only from this time on (RFC 3339, or a duration back from now such as 24h)");
  options->access.AddOptions(*command);
  command->footer(
      "With --json it prints the same lines: one JSON value each, and not one in all.\n\n"
      "Examples:\n  writ export > events.jsonl\n  writ export --since 24h\n  writ export --since "
      "2026-06-22T00:00:00Z");
  command->callback([&context, options] {
    WallTime since{0};
    if (!options->since.empty()) {
      if (auto time = ParseRfc3339(options->since)) {
        since = *time;
      } else if (auto back = ParseDuration(options->since)) {
        since = SystemClock().Now() + -*back;
      } else {
        return context.Fail(Error{ErrorKind::kInvalid, "cli.bad_time",
                                  "--since is neither a time nor a duration",
                                  "write it like 2026-06-22T00:00:00Z or 24h"});
      }
    }
    auto requester = options->access.Open(context);
    if (!requester) return context.Fail(requester.error());
    Status done = (*requester)->Export(since, [](std::string_view line) -> Status {
      std::fwrite(line.data(), 1, line.size(), stdout);
      if (line.empty() || line.back() != '\n') std::fputc('\n', stdout);
      if (std::ferror(stdout) != 0)  // said at the end, as for every command
        return Error{ErrorKind::kCancelled, "cli.output_failed", "nobody takes the lines", ""};
      return {};
    });
    if (!done && std::ferror(stdout) == 0) context.Fail(done.error());
  });
}

}  // namespace writ::cli
