// runner start
#include <CLI/CLI.hpp>

#include <functional>
#include <memory>

#include "commands.h"
#include "context.h"
#include "disclosure_report.h"
#include "duration.h"
#include "home.h"
#include "own_cgroup.h"
#include "progress_lines.h"
#include "runner_setup.h"
#include "serve_runner.h"
#include "signals.h"
#include "writ/backends/registry.h"
#include "writ/base/clock.h"
#include "writ/base/file.h"
#include "writ/base/log.h"
#include "writ/base/service_manager.h"
#include "writ/runner/engine.h"
#include "writ/runner/enroll.h"

namespace writ::cli {
namespace {

struct RunnerCommand {
  RunnerSetup setup;
  std::string plane_key_file;
  std::string enroll_token_file;
  std::string metrics;
  std::string exit_when_idle;
  std::uint64_t max_runs = 0;
  bool once = false;
};

// Tells each run's steps as lines, for whoever watches the runner's terminal.
class Narrator final : public runner::RunObserver {
 public:
  explicit Narrator(const Context& context) : context_(context) {}
  void OnStep(const std::string& run_id, runner::Step step) override {
    context_.Note(run_id + " " + std::string(runner::StepName(step)));
  }
  void OnOutput(const std::string&, std::string_view) override {}
  void OnProgress(const std::string& run_id, const runner::Progress& progress) override {
    context_.Note(run_id + " " + ProgressText(progress));
  }
  void OnEnd(const std::string& run_id, const runner::RunEnd& end) override {
    context_.Note(run_id + " ended: " + end.status +
                  (end.message.empty() ? "" : ": " + TerminalSafe(end.message)));
  }

 private:
  const Context& context_;
};

// kCancelled where a signal to stop came while the plane was asked.
Result<runner::Identity> FindIdentity(const runner::RunnerConfig& config,
                                      const std::string& token_file, const Clock& clock,
                                      StopSignals& signals, const Context& context) {
  // A wrong key is told before a token is spent or a run is claimed; a plane that is away hides it.
  const auto ask = [&](const std::function<Result<runner::Identity>(std::stop_token)>& identity)
      -> Result<runner::Identity> {
    Result<runner::Identity> out = Error{};
    std::stop_token stopped;
    WRIT_TRY(UntilStopped(signals, [&](std::stop_token stop) {
      stopped = std::move(stop);
      Status key = runner::CheckPlaneKey(config, clock, stopped);
      out = key ? identity(stopped) : Result<runner::Identity>(std::move(key).error());
    }));
    // Its signal is used up: also where the plane's answer came just before it.
    if (stopped.stop_requested())
      return Error{ErrorKind::kCancelled, "runner.stopped", "stopped while its plane was asked"};
    return out;
  };
  WRIT_ASSIGN(runner::IdentityStore store, runner::IdentityStore::Open(config.state_dir));
  WRIT_ASSIGN(std::optional<runner::Identity> known, store.Load());
  if (known && known->pool == config.pool)
    return ask([&](const std::stop_token&) { return std::move(*known); });
  if (known)
    return Error{ErrorKind::kConflict, "runner.pool_changed",
                 "this runner is enrolled in pool " + known->pool,
                 "start it with --pool " + known->pool +
                     ", or give the new pool's runner a --name of its own"};
  if (token_file.empty())
    return Error{
        ErrorKind::kInvalid, "runner.not_enrolled", "this runner is not enrolled yet",
        "make a one-time token with `writ enroll-token` and give it with --enroll-token-file"};
  WRIT_ASSIGN(std::string text, ReadFile(token_file, 4096));
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' '))
    text.pop_back();
  Secret token = Secret::Consume(text);
  context.Note("enrolling at " + config.plane.url +
               " (a plane that is away is asked again for up to a minute)");
  return ask(
      [&](std::stop_token stop) { return runner::Enroll(config, token, clock, std::move(stop)); });
}

// The setup with what its files hold now.
Result<RunnerSetup> WithKey(RunnerCommand& command, const Context& context) {
  RunnerSetup setup = command.setup;
  setup.dir = context.dir;
  setup.metrics_listen = command.metrics;
  if (!command.plane_key_file.empty()) {
    WRIT_ASSIGN(setup.plane_key_pem, ReadFile(command.plane_key_file, 16384));
  }
  return setup;
}

Result<runner::ServeOptions> ServeOptionsOf(const RunnerCommand& command) {
  runner::ServeOptions out;
  if (command.max_runs > 0) out.max_runs = command.max_runs;
  if (command.once) out.max_runs = 1;
  if (!command.exit_when_idle.empty()) {
    out.exit_when_idle = ParseDuration(command.exit_when_idle);
    if (!out.exit_when_idle)
      return Error{ErrorKind::kInvalid, "cli.bad_duration", "--exit-when-idle is not a duration",
                   "write it like 90s, 10m or 1h30m; 366d is the most"};
  }
  return out;
}

void StartRunner(Context& context, RunnerCommand& command) {
  auto signals = StopSignals::Block();
  if (!signals) return context.Fail(signals.error());
  ServiceManager manager = ServiceManager::FromEnvironment();
  auto serve = ServeOptionsOf(command);
  if (!serve) return context.Fail(serve.error());
  auto setup = WithKey(command, context);
  if (!setup) return context.Fail(kUsage, setup.error());
  auto settings = MakeRunnerSettings(*setup);
  if (!settings) return context.Fail(kUsage, settings.error());
  auto uids = ReserveUids(*settings);
  if (!uids) return context.Fail(kFailed, uids.error());
  if (!uids->moved.empty()) context.Note("note: " + uids->moved);
  const runner::RunnerConfig& config = settings->config;
  TakeOwnCgroup();
  SystemClock clock;
  backends::BackendRegistry registry;
  if (Status registered =
          RegisterBackends(registry, setup->dir, config, backends::LaunchedOptions::Ahead::kOne);
      !registered)
    return context.Fail(kFailed, registered.error());
  auto identity = FindIdentity(config, command.enroll_token_file, clock, *signals, context);
  if (!identity && identity.error().kind == ErrorKind::kCancelled)
    return context.Note("stopped while enrolling: start it again with the same token");
  if (!identity) return context.Fail(identity.error());
  std::string runner_id = identity->runner_id.text();
  Narrator narrator(context);
  auto engine = runner::Engine::Create(config, std::move(*identity), registry, clock,
                                       context.log_json ? nullptr : &narrator);
  if (!engine) return context.Fail(kFailed, engine.error());
  for (const runner::ReadinessProblem& problem : (*engine)->CheckReadiness()) {
    if (problem.blocks_claims)
      return context.Fail(
          kFailed, Error{ErrorKind::kUnsupported, problem.code, problem.message, problem.hint});
    context.NoteError("note",
                      Error{ErrorKind::kUnsupported, problem.code, problem.message, problem.hint});
  }
  if (context.json) {
    context.PrintJson(
        json::Object{{"runnerId", runner_id}, {"pool", config.pool}, {"slots", config.slots}});
  } else {
    context.Print("runner " + runner_id + " serves pool " + config.pool + " with " +
                  Counted(config.slots, "slot", "slots") + "\n");
  }
  if (Status started = (*engine)->Start(*serve); !started)
    return context.Fail(kFailed, started.error());
  context.Note(
      "stop it with Ctrl-C or SIGTERM: runs in work are finished; a second one cancels them");
  // The uids stay those that are reserved, whatever a file says now.
  const ReadAgain read_again = [&]() -> Result<runner::RunnerConfig> {
    WRIT_ASSIGN(RunnerSetup again, WithKey(command, context));
    WRIT_ASSIGN(RunnerSettings next, MakeRunnerSettings(again));
    if (next.uid_choice == UidChoice::kOurs) next.config.uid_range = config.uid_range;
    return std::move(next.config);
  };
  auto code = ServeRunner(**engine, *signals, manager, context, read_again);
  if (!code) return context.Fail(code.error());
  context.exit_code = *code;
}

}  // namespace

void AddRunner(CLI::App& app, Context& context) {
  CLI::App* runner =
      app.add_subcommand("runner", "A runner: claims runs of one pool and executes them");
  runner->require_subcommand(1);
  runner->footer(
      "Examples:\n  writ runner start --pool default --plane http://127.0.0.1:7070 --plane-key "
      "plane.pub.pem --enroll-token-file token\n  writ runner status\n  writ runner receipts");
  auto options = std::make_shared<RunnerCommand>();
  CLI::App* start = runner->add_subcommand("start", "Claim and execute runs until a signal comes");
  start->add_option("--pool", options->setup.pool, "Pool to serve (default: default)");
  start->add_option("--plane", options->setup.plane.url,
                    "URL of the plane; http only on loopback (else plane.url of the "
                    "configuration)");
  start->add_option("--plane-key", options->plane_key_file,
                    "The plane's public key (PEM); contracts by any other are refused (else "
                    "plane.keyPem of the configuration)");
  start->add_option("--plane-ca", options->setup.plane.ca_file,
                    "PEM CA of the plane's certificate");
  start->add_option("--plane-proxy", options->setup.plane.proxy,
                    "Corporate proxy on the way to the plane");
  start->add_option("--client-cert", options->setup.plane.client_cert_file,
                    "PEM certificate, where the plane asks for one");
  start->add_option("--client-key", options->setup.plane.client_key_file,
                    "PEM key of --client-cert");
  start->add_option("--enroll-token-file", options->enroll_token_file,
                    "One-time token; needed the first time only");
  start->add_option("--slots", options->setup.slots, "Runs at the same time (default: 1)")
      ->check(CLI::Range(1, 1024));
  start->add_option("--name", options->setup.name,
                    "Name of this runner's folder below --dir (default: the pool)");
  start->add_option("--config", options->setup.config_file,
                    "Operator's configuration (default: runner.json in --dir, where it is)");
  start->add_option("--metrics", options->metrics,
                    "Serve /healthz, /readyz and /metrics at 127.0.0.1:PORT, [::1]:PORT or "
                    "unix:/PATH");
  start->add_flag("--once", options->once, "Do one run and leave");
  start->add_option("--max-runs", options->max_runs, "Leave after so many runs")
      ->check(CLI::Range(1, 1 << 30));
  start->add_option("--exit-when-idle", options->exit_when_idle,
                    "Leave after so long without a run (90s, 10m, 1h30m)");
  start->footer(
      "Examples:\n  writ runner start --pool default --plane http://127.0.0.1:7070 --plane-key "
      "plane.pub.pem --enroll-token-file token\n"
      "  writ runner start --pool gpu --plane https://plane.example.com --plane-ca ca.pem "
      "--plane-key plane.pub.pem --slots 4\n\n"
      "Signals: SIGTERM and Ctrl-C drain, a second one cancels what runs; SIGQUIT cancels at "
      "once;\n"
      "SIGHUP reads the configuration again. Settings come from the command line, then from the\n"
      "environment (WRIT_RUNNER_SLOTS), then from the file: see `writ config show --effective`.\n\n"
      "Exit: 0 drained, idle or done, 1 trouble, 2 usage, 4 runs were cancelled by a signal, 6 "
      "plane\n"
      "unreachable.");
  start->callback([&context, options] { StartRunner(context, *options); });
  AddRunnerStatus(*runner, context);
  AddRunnerReceipts(*runner, context);
}

}  // namespace writ::cli
