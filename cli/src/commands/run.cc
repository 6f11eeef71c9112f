// run: captures the checkout, asks the plane for a run, and follows it to its end.
#include <CLI/CLI.hpp>

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <memory>

#include "access.h"
#include "commands.h"
#include "context.h"
#include "disclosure_report.h"
#include "duration.h"
#include "home.h"
#include "print_plan.h"
#include "run_follow.h"
#include "runner_setup.h"
#include "session_access.h"
#include "watch.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/plane/init.h"
#include "writ/workspace/capture.h"

namespace writ::cli {
namespace {

constexpr std::uint64_t kMaxUploadBytes = std::uint64_t{4} << 30;

struct RunCommand {
  Access access;
  std::string agent = "command";
  std::string pool = "default";
  std::vector<std::string> secrets;
  std::vector<std::string> hosts;
  std::vector<std::string> allow_untracked;
  std::string isolation;
  std::string image;
  std::string syscalls;
  std::string timeout;
  std::string disclosure = "minimal-context";
  std::vector<std::string> artifacts;
  std::string result;
  std::string traceparent;
  std::string reconnect;  // as typed
  std::string repository = ".";
  double max_spend_usd = 0;
  std::string memory, disk, io;  // sizes; io a second
  double cpus = 0;
  std::int64_t processes = 0, open_files = 0;
  std::string cpu_time;
  bool no_network = false;
  bool idempotent = false;
  bool separate_stderr = false;
  bool tty = false;
  std::vector<std::string> allow_access;  // attach, input, exec, copy
  bool dry_run = false;
  bool print_plan = false;
  bool no_watch = false;
  std::vector<std::string> words;  // the task; with --agent argv a command and its arguments
  std::string task;
};

Result<workspace::Captured> CaptureCheckout(const Context& context, const RunCommand& command) {
  workspace::CaptureOptions options;
  options.repository = AbsolutePath(command.repository);
  options.allow_untracked = command.allow_untracked;
  options.cache_directory = context.dir + "/capture";
  WRIT_TRY(MakeDirectories(options.cache_directory, 0700));
  return workspace::Capture(
      options, [&context](std::string_view what, std::uint64_t done, std::uint64_t total) {
        if (total > 20'000 && done == total) context.Note("captured: " + std::string(what));
      });
}

Result<json::Object> LimitsOf(const RunCommand& command) {
  json::Object limits;
  for (const auto& [member, option, text] : {std::tuple{"memoryBytes", "--memory", &command.memory},
                                             std::tuple{"diskBytes", "--disk", &command.disk},
                                             std::tuple{"ioBytesPerSecond", "--io", &command.io}}) {
    if (text->empty()) continue;
    std::optional<std::int64_t> size = ParseSize(*text);
    if (!size)
      return Error{ErrorKind::kInvalid, "cli.bad_size", std::string(option) + " is not a size",
                   "write it like 512M or 4G"};
    limits.Set(member, *size);
  }
  if (command.cpus > 0) limits.Set("cpuMillis", std::llround(command.cpus * 1000));
  if (!command.cpu_time.empty()) {
    auto time = ParseDuration(command.cpu_time);
    if (!time)
      return Error{ErrorKind::kInvalid, "cli.bad_duration", "--cpu-time is not a duration",
                   "write it like 90s, 10m or 1h30m; 366d is the most"};
    limits.Set("cpuMs", time->count());
  }
  if (command.processes > 0) limits.Set("processes", command.processes);
  if (command.open_files > 0) limits.Set("openFiles", command.open_files);
  return limits;
}

Result<json::Value> BuildRequest(const RunCommand& command, const workspace::Captured& captured) {
  json::Array hosts;
  for (const std::string& host : command.hosts) hosts.emplace_back(host);
  json::Object budget;
  if (!command.timeout.empty()) {
    auto timeout = ParseDuration(command.timeout);
    if (!timeout)
      return Error{ErrorKind::kInvalid, "cli.bad_duration", "--timeout is not a duration",
                   "write it like 90s, 10m or 1h30m; 366d is the most"};
    budget.Set("maxDurationMin", static_cast<double>(timeout->count()) / 60'000.0);
  }
  if (command.max_spend_usd > 0) budget.Set("maxSpendUsd", command.max_spend_usd);
  json::Object request{
      {"agentKind", command.agent == "argv" ? "command" : command.agent},
      {"secretNames", json::Value::Texts(command.secrets)},
      {"network", json::Object{{"defaultDeny", true}, {"allowHosts", std::move(hosts)}}},
      {"budget", std::move(budget)},
      {"disclosure", command.disclosure},
      {"workspace", captured.manifest.ToJson()},
      {"pool", command.pool},
      {"prompt", command.task}};
  if (!command.isolation.empty()) request.Set("isolation", command.isolation);
  // Without more to say the plane derives the execution from agent and prompt.
  if (!command.traceparent.empty()) {
    if (!protocol::IsTraceparent(command.traceparent))
      return Error{ErrorKind::kInvalid, "cli.bad_traceparent",
                   "--traceparent is no W3C traceparent of version 00",
                   "00-TRACE-PARENT-FLAGS: 32, 16 and 2 lower-case hex digits"};
    request.Set("traceparent", command.traceparent);
  }
  WRIT_ASSIGN(json::Object limits, LimitsOf(command));
  const bool declares = !command.artifacts.empty() || !command.result.empty() || !limits.empty() ||
                        !command.image.empty() || !command.syscalls.empty() ||
                        command.separate_stderr || command.tty || command.idempotent;
  if (command.no_network || declares || command.agent == "argv") {
    json::Object execution;
    if (command.agent == "argv") {
      execution.Set("kind", "argv");
      execution.Set("command", command.words.front());
      execution.Set("args", json::Value::Texts({command.words.begin() + 1, command.words.end()}));
    } else if (command.agent == "command") {
      execution.Set("kind", "shell");
      execution.Set("script", command.task);
    } else {
      execution.Set("kind", "agent");
      execution.Set("agent", json::Object{{"kind", command.agent}});
      execution.Set("prompt", command.task);
    }
    if (command.no_network) execution.Set("env", json::Object{{"egressProxy", false}});
    if (!command.artifacts.empty())
      execution.Set("artifacts", json::Value::Texts(command.artifacts));
    if (!command.result.empty()) execution.Set("result", command.result);
    if (!command.image.empty()) execution.Set("image", command.image);
    if (!command.syscalls.empty()) execution.Set("syscalls", command.syscalls);
    if (!limits.empty()) execution.Set("limits", std::move(limits));
    if (command.idempotent) execution.Set("idempotent", true);
    if (command.separate_stderr)
      execution.Set("log", json::Object{{"stdout", "capture"}, {"stderr", "capture"}});
    if (command.tty) {
      const TerminalSize size = SizeOfTerminal(STDOUT_FILENO).value_or(TerminalSize{});
      execution.Set("terminal", json::Object{{"rows", size.rows}, {"columns", size.columns}});
    }
    request.Set("execution", std::move(execution));
  }
  return json::Value(std::move(request));
}

void PrintFindings(const Context& context, const workspace::Captured& captured) {
  for (const workspace::Finding& finding : captured.findings)
    context.Note("note: " + finding.code +
                 (finding.path.empty() ? "" : " " + TerminalSafe(finding.path)) + ": " +
                 TerminalSafe(finding.detail));
}

// What would move, without moving it: the plane's report and what only this side knows.
void PrintDryRun(Context& context, const plane::Submission& submission,
                 const workspace::Captured& captured, const std::string& default_tier) {
  auto report = json::Parse(submission.report);
  if (!report || !report->is_object())
    return context.Fail(kFailed, Error{ErrorKind::kInternal, "plane.nonsense",
                                       "the plane's disclosure report cannot be read", ""});
  const json::Value* decision = report->Find("policyDecision");
  if (decision != nullptr && decision->FindString("decision") == "deny")
    context.exit_code = kPolicyDenied;
  if (context.json)
    context.PrintJson(DisclosureJson(std::move(*report), captured, default_tier));
  else
    context.Print(RenderDisclosure(*report, captured, default_tier));
}

Status Upload(const Context& context, Requester& requester, const workspace::Captured& captured) {
  for (const workspace::CapturedBlob& blob : captured.blobs) {
    std::string hash = blob.digest.ToHex();
    WRIT_ASSIGN(bool known, requester.HasBlob(hash));
    if (known) continue;  // the same base as before: only the change travels
    if (blob.bytes > (8u << 20)) context.Note("uploading " + FormatBytes(blob.bytes));
    if (blob.file.empty()) {
      WRIT_TRY(requester.PutBlob(blob.content, hash));
      continue;
    }
    WRIT_ASSIGN(std::string bytes, ReadFile(blob.file, kMaxUploadBytes));
    WRIT_TRY(requester.PutBlob(bytes, hash));
  }
  return {};
}

void Run(Context& context, RunCommand& command) {
  if (command.agent != "argv" && command.words.size() > 1)
    return context.Fail(Error{ErrorKind::kInvalid, "cli.two_tasks", "a run has one task",
                              "put it in quotes, or use --agent argv -- COMMAND ARGS"});
  for (const std::string& word : command.words)
    command.task += (command.task.empty() ? "" : " ") + word;
  if (!command.allow_access.empty() && !command.access.local())
    return context.Fail(Error{ErrorKind::kInvalid, "cli.access_remote",
                              "--allow-access is for runs of this process",
                              "a runner's operator grants it: grants.session in its runner.json"});
  if (command.no_network && !command.hosts.empty())
    return context.Fail(Error{ErrorKind::kInvalid, "cli.network_and_none",
                              "--no-network and --allow-host contradict each other",
                              "leave one of them out: without any --allow-host no host is reached "
                              "either"});
  if (command.tty && command.separate_stderr)
    return context.Fail(Error{ErrorKind::kInvalid, "cli.tty_stderr",
                              "a terminal has one stream: not with --separate-stderr"});
  if (command.task.empty())
    return context.Fail(
        Error{ErrorKind::kInvalid, "cli.no_task", "there is no task", "writ run \"TASK\""});
  // A contract is JSON: what is not UTF-8 would be signed, and run, as something else.
  for (const std::string& word : command.words)
    if (!json::IsWellFormedUtf8(word))
      return context.Fail(Error{ErrorKind::kInvalid, "cli.task_not_text",
                                "the task is not UTF-8 text, which a contract cannot carry",
                                "write its bytes as escapes, or put them into a file of the "
                                "repository"});
  if (command.print_plan && !command.access.local())
    return context.Fail(Error{ErrorKind::kInvalid, "cli.plan_is_elsewhere",
                              "a run at that plane is planned by the runner that claims it",
                              "leave --plane out to see this machine's plan"});
  auto reconnect = ParseReconnect(command.reconnect);
  if (!reconnect) return context.Fail(reconnect.error());
  if (command.access.local() && !command.dry_run && !command.print_plan) {
    // A first run needs no ceremony: what is missing is made, nothing is overwritten.
    auto report = plane::Init(context.dir);
    if (!report) return context.Fail(ExplainDirError(std::move(report).error(), context.dir));
    if (report->kept.empty()) context.Note("made keys, policy and configuration in " + context.dir);
    // What its runner would be refused for is told before there is a run.
    RunnerSetup setup;
    setup.dir = context.dir;
    if (auto settings = ReadRunnerSettings(setup); !settings)
      return context.Fail(kUsage, settings.error());
  }
  // One of the environment that is malformed is none, as W3C Trace Context says.
  if (const char* parent = std::getenv("TRACEPARENT");
      command.traceparent.empty() && parent != nullptr && protocol::IsTraceparent(parent))
    command.traceparent = parent;
  auto requester = command.access.Open(context);  // first: without a plane nothing is captured
  if (!requester) return context.Fail(requester.error());
  auto captured = CaptureCheckout(context, command);
  if (!captured) return context.Fail(captured.error());
  auto request = BuildRequest(command, *captured);
  if (!request) return context.Fail(request.error());

  auto submit = [&](bool dry) {
    json::Object body{{"request", *request}};
    if (dry) body.Set("dryRun", true);
    return (*requester)->Submit(json::Write(std::move(body)));
  };
  if (command.dry_run || command.print_plan) {
    auto answer = submit(true);
    if (!answer) return context.Fail(answer.error());
    if (answer->kind != plane::Submission::Kind::kDryRun)
      return ReportRefusal(context, command.access, *answer);
    if (command.print_plan) {
      auto report = json::Parse(answer->report);
      if (!report) return context.Fail(kFailed, report.error());
      return PrintPlanOfRun(context, {*report, captured->manifest, command.task, command.pool});
    }
    std::string default_tier;
    if (command.access.local()) {
      RunnerSetup setup;
      setup.dir = context.dir;
      auto settings = ReadRunnerSettings(setup);
      if (!settings) return context.Fail(kUsage, settings.error());
      default_tier = settings->config.default_isolation;
    }
    return PrintDryRun(context, *answer, *captured, default_tier);
  }
  PrintFindings(context, *captured);
  if (Status uploaded = Upload(context, **requester, *captured); !uploaded)
    return context.Fail(uploaded.error());
  auto answer = submit(false);
  if (!answer) return context.Fail(answer.error());
  if (answer->kind != plane::Submission::Kind::kAccepted)
    return ReportRefusal(context, command.access, *answer);
  FollowRun(context, *answer,
            {.access = command.access,
             .requester = **requester,
             .pool = command.pool,
             .allow_access = command.allow_access,
             .repository = command.repository,
             .reconnect = *reconnect,
             .watch = !command.no_watch});
}

}  // namespace

void AddRun(CLI::App& app, Context& context) {
  auto options = std::make_shared<RunCommand>();
  CLI::App* run = app.add_subcommand("run", "Run a task on a git checkout under a signed contract");
  run->add_option(
      "TASK", options->words,
      "The agent's prompt; for --agent command a shell script, for --agent argv a command "
      "and its arguments (after --)");
  run->add_option("--agent", options->agent, "claude-code, codex, command, argv or mock")
      ->capture_default_str();
  run->add_option("--pool", options->pool, "Pool whose runners may claim it")
      ->capture_default_str();
  run->add_option("--secret", options->secrets, "Secret to release to the run; may be repeated")
      ->allow_extra_args(false);
  run->add_option("--allow-host", options->hosts, "Host that the run may reach; may be repeated")
      ->allow_extra_args(false);
  run->add_option("--allow-untracked", options->allow_untracked,
                  "Untracked files to take along (glob); may be repeated")
      ->allow_extra_args(false);
  run->add_option("--isolation", options->isolation,
                  "Tier: process, sandbox, container or microvm (default: the runner's, which is "
                  "sandbox unless its operator says otherwise)");
  run->add_option("--image", options->image,
                  "Image that the job's root is, by name or digest (`writ image ls`); sandbox, "
                  "container and microvm tier");
  run->add_option("--syscalls", options->syscalls,
                  "System calls that there are for the job: default, build (test suites with "
                  "servers, package tools) or none (all; needs the operator's grant)");
  run->add_option("--timeout", options->timeout, "End the run after this long (90s, 10m, 1h30m)");
  run->add_option("--memory", options->memory,
                  "Memory that the whole job may use (512M, 4G); a runner without it refuses");
  run->add_option("--cpus", options->cpus, "CPUs that it may use at once (0.5, 2)")
      ->check(CLI::Range(0.01, 1024.0));
  run->add_option("--cpu-time", options->cpu_time, "CPU time that it may use in all (90s, 10m)");
  run->add_option("--disk", options->disk, "Disk that it may use in workspace, HOME and TMPDIR");
  run->add_option("--io", options->io,
                  "Bytes a second that it may read, and write, at each disk (50M)");
  run->add_option("--processes", options->processes, "Processes and threads that it may have")
      ->check(CLI::Range(1, 1 << 22));
  run->add_option("--open-files", options->open_files, "Files that one process may have open")
      ->check(CLI::Range(16, 1 << 22));
  run->add_option("--max-spend", options->max_spend_usd, "Budget for models in USD")
      ->check([](const std::string& text) {
        double usd = 0;
        return CLI::detail::lexical_cast(text, usd) && std::isfinite(usd) && usd > 0
                   ? std::string()
                   : "'" + text + "' is no amount above 0, such as 2.50";
      });
  run->add_option("--disclosure", options->disclosure,
                  "What may leave the runner: none, metadata-only, redacted, minimal-context, full")
      ->capture_default_str();
  run->add_option("--artifact", options->artifacts,
                  "Output files to keep (glob over the final workspace); may be repeated")
      ->allow_extra_args(false);
  run->add_option("--result", options->result,
                  "File of the workspace with the run's result, which must be JSON");
  run->add_flag("--idempotent", options->idempotent,
                "The job may be done twice: where its runner is lost, the plane submits it again");
  run->add_flag("--separate-stderr", options->separate_stderr,
                "Keep standard error as a stream and a log of its own");
  run->add_flag("--tty", options->tty,
                "Give the job a terminal (its output is what a terminal gets)");
  run->add_option("--allow-access", options->allow_access,
                  "Let yourself into the session while it runs: attach, input, exec, copy, pause, "
                  "checkpoint; separated by commas (only without --plane)")
      ->delimiter(',')
      ->check(CLI::IsMember({"attach", "input", "exec", "copy", "pause", "checkpoint"}))
      ->allow_extra_args(false);
  run->add_option("--traceparent", options->traceparent,
                  "W3C trace context to carry into contract, log and receipt");
  run->add_option("--repo", options->repository, "The checkout")->capture_default_str();
  run->add_flag("--no-network", options->no_network, "No network at all, not even the proxy");
  CLI::Option* dry_run = run->add_flag("--dry-run", options->dry_run,
                                       "Print the whole disclosure report; nothing is moved");
  run->add_flag("--print-plan", options->print_plan,
                "Print what the runner of this machine would do, step by step, as JSON; nothing is "
                "moved, claimed or started")
      ->excludes(dry_run);
  run->add_flag("--no-watch", options->no_watch,
                "Submit and leave; a runner has to be serving the plane");
  AddReconnect(*run, options->reconnect);
  options->access.AddOptions(*run);
  run->footer(
      "Without --plane, plane and runner are started in this process for this run.\n"
      "Ctrl-C, SIGTERM and a closed terminal cancel the run, at a far plane too; a second Ctrl-C\n"
      "leaves at once. `writ watch RUN` only looks on. A plane that is away is asked again\n"
      "(--reconnect); one that stays away ends the command with 6, and not the run.\n\n"
      "Examples:\n"
      "  writ run \"make test\"\n"
      "  writ run --agent argv -- make -j2 test\n"
      "  writ run --agent claude-code --allow-host api.anthropic.com --secret ANTHROPIC_API_KEY "
      "\"fix the failing test\"\n"
      "  writ run --artifact 'build/*.log' --result out/result.json \"make test\"\n"
      "  writ run --plane https://plane.example.com --token-file token --idempotent \"make test\"\n"
      "  writ run --dry-run --allow-untracked 'notes/*.md' \"true\"\n"
      "  writ run --print-plan --isolation sandbox --memory 2G \"make test\"\n"
      "  writ run --plane https://plane.example.com --token-file token \"make test\"\n\n"
      "Exit: 0 done, 1 the run failed, 2 usage, 3 denied, 4 cancelled, 5 waiting for "
      "approval, 6 plane unreachable.");
  run->callback([&context, options] { Run(context, *options); });
}

}  // namespace writ::cli
