// exec, attach, pause, resume: the operator's way into a running session.
#include <CLI/CLI.hpp>

#include <unistd.h>

#include <cstdlib>
#include <memory>

#include "commands.h"
#include "context.h"
#include "duration.h"
#include "session_access.h"
#include "terminal_filter.h"
#include "writ/base/encoding.h"
#include "writ/base/file.h"

namespace writ::cli {
namespace {

// Of writ's own failures, beside the exits of commands that are passed on as they are.
constexpr int kOwnFailure = 125;
constexpr std::size_t kMaxJsonBytes = std::size_t{4} << 20;

constexpr char kWhere[] =
    "This works on the machine of the runner, as its user or root, and only where its operator "
    "granted it (grants.session in runner.json, `writ run --allow-access`): a runner lets nobody "
    "in from its plane. Every use is an event of the run's chain and stands in its receipt.\n\n";

struct ExecCommand {
  std::string run, name, cwd, timeout;
  std::vector<std::string> words, vars;
  bool tty = false;
  bool no_stdin = false;
};

struct AttachCommand {
  std::string run, name, timeout;
  std::string keys = "ctrl-p,ctrl-q";
  std::uint64_t from = 0;
  bool errors = false;
  bool input = false;
};

// Where output goes: a terminal (filtered), a pipe or file (as it is), or the one JSON value.
class Shown {
 public:
  Shown(const Context& context, int fd, TerminalFilter::Mode mode)
      : json_(context.json), fd_(fd), filters_(::isatty(fd) != 0), filter_(mode) {}
  Status Take(std::string_view bytes) {
    if (!json_) return WriteAll(fd_, filters_ ? filter_.Pass(bytes) : std::string(bytes));
    const std::size_t room = kMaxJsonBytes - kept_.size();
    kept_.append(bytes.substr(0, room));
    left_out_ += bytes.size() - std::min(room, bytes.size());
    return {};
  }
  void AddTo(json::Object& out, const std::string& name) const {
    const std::string text = json::ToWellFormedUtf8(kept_);
    out.Set(name, text);
    if (text != kept_) out.Set(name + "B64", Base64Encode(kept_));
    if (left_out_ > 0) out.Set(name + "LeftOut", left_out_);
  }

 private:
  bool json_;
  int fd_;
  bool filters_;
  TerminalFilter filter_;
  std::string kept_;
  std::uint64_t left_out_ = 0;
};

void FailOwn(Context& context, const Error& error) {
  context.Fail(error);
  context.exit_code = kOwnFailure;
}

Result<std::optional<std::chrono::milliseconds>> LimitOf(const std::string& text) {
  if (text.empty()) return std::optional<std::chrono::milliseconds>();
  auto limit = ParseDuration(text);
  if (!limit)
    return Error{ErrorKind::kInvalid, "cli.bad_duration", "--timeout is not a duration",
                 "write it like 90s, 10m or 1h30m; 366d is the most"};
  return std::optional<std::chrono::milliseconds>(*limit);
}

Result<runner::AccessRequest> ExecRequest(const ExecCommand& command) {
  runner::AccessRequest request;
  request.run_id = command.run;
  request.argv = command.words;
  request.cwd = command.cwd;
  for (const std::string& var : command.vars) {
    const std::size_t equals = var.find('=');
    if (equals == 0 || equals == std::string::npos)
      return Error{ErrorKind::kInvalid, "cli.bad_variable", "--env wants NAME=VALUE"};
    request.vars[var.substr(0, equals)] = var.substr(equals + 1);
  }
  if (command.tty) {
    request.terminal = SizeOfTerminal(STDIN_FILENO).value_or(TerminalSize{});
    const char* term = std::getenv("TERM");
    if (term != nullptr && *term != '\0') request.vars.try_emplace("TERM", term);
  }
  return request;
}

void Exec(Context& context, const ExecCommand& command) {
  auto limit = LimitOf(command.timeout);
  auto request = limit ? ExecRequest(command) : Result<runner::AccessRequest>(limit.error());
  if (!request) return context.Fail(kUsage, request.error());
  if (command.tty && context.json)
    return context.Fail(kUsage, {ErrorKind::kInvalid, "cli.tty_json",
                                 "--tty is for people and --json for programs: not both"});
  auto session = AskForSession(context, command.name, *request);
  if (!session) return FailOwn(context, session.error());
  const bool raw = command.tty && ::isatty(STDIN_FILENO);
  Shown out(context, STDOUT_FILENO,
            command.tty ? TerminalFilter::Mode::kProgram : TerminalFilter::Mode::kText);
  Shown err(context, STDERR_FILENO, TerminalFilter::Mode::kText);
  SessionStreams streams;
  streams.input = command.no_stdin ? -1 : STDIN_FILENO;
  streams.resizes = raw;
  streams.signals = SessionStreams::Signals::kPassOn;
  streams.output = [&out](std::string_view bytes) { return out.Take(bytes); };
  streams.errors = [&err](std::string_view bytes) { return err.Take(bytes); };
  std::optional<RawTerminal> terminal;
  if (raw) terminal.emplace(STDIN_FILENO);
  auto ending = CarryStreams(session->channel, streams, *limit);
  terminal.reset();
  if (command.tty && ::isatty(STDOUT_FILENO))
    (void)WriteAll(STDOUT_FILENO, TerminalFilter::Restore()).has_value();
  if (!ending) return FailOwn(context, ending.error());
  const json::Value* code = ending->done.Find("exitCode");
  if (code == nullptr)
    return FailOwn(context, {ErrorKind::kUnavailable, "access.no_exit",
                             "the session ended before the command did: its exit is not known"});
  context.exit_code = static_cast<int>(code->AsInteger().value_or(kOwnFailure));
  if (!context.json) return;
  json::Object result = ending->done.object();
  result.Set("runId", command.run);
  out.AddTo(result, "stdout");
  err.AddTo(result, "stderr");
  context.PrintJson(std::move(result));
}

void Attach(Context& context, const AttachCommand& command) {
  auto limit = LimitOf(command.timeout);
  if (!limit) return context.Fail(kUsage, limit.error());
  auto keys = ParseKeys(command.keys);
  if (!keys) return context.Fail(kUsage, keys.error());
  runner::AccessRequest request;
  request.mode = runner::AccessRequest::Mode::kAttach;
  request.run_id = command.run;
  request.from = command.from;
  request.input = command.input;
  if (command.errors) request.stream = runner::AccessRequest::Stream::kErrors;
  auto session = AskForSession(context, command.name, request);
  if (!session) return context.Fail(session.error());
  const json::Value* has_terminal = session->taken.Find("terminal");
  const bool program =
      has_terminal != nullptr && has_terminal->if_bool() != nullptr && *has_terminal->if_bool();
  const bool raw = command.input && ::isatty(STDIN_FILENO);
  Shown out(context, STDOUT_FILENO,
            program ? TerminalFilter::Mode::kProgram : TerminalFilter::Mode::kText);
  SessionStreams streams;
  if (command.input) streams.input = STDIN_FILENO;
  streams.leave_keys = raw ? *keys : std::string_view();
  streams.resizes = raw;
  streams.signals = SessionStreams::Signals::kLeave;
  std::uint64_t seen = 0;
  streams.output = [&](std::string_view bytes) {
    seen += bytes.size();
    return out.Take(bytes);
  };
  if (raw) {
    context.Note("attached; " + command.keys + " detaches");
    if (auto size = SizeOfTerminal(STDIN_FILENO))
      (void)session->channel
          .Send(runner::AccessWord::kResize,
                std::to_string(size->rows) + " " + std::to_string(size->columns))
          .has_value();
  }
  std::optional<RawTerminal> terminal;
  if (raw) terminal.emplace(STDIN_FILENO);
  auto ending = CarryStreams(session->channel, streams, *limit);
  terminal.reset();
  if (program && ::isatty(STDOUT_FILENO))
    (void)WriteAll(STDOUT_FILENO, TerminalFilter::Restore()).has_value();
  const bool in_time = ending || ending.error().code != "access.timeout";
  if (!ending && in_time) return context.Fail(ending.error());
  const std::uint64_t offset = command.from + seen;
  const bool left = !ending || ending->left;
  if (left)
    context.Note("detached; go on with: " +
                 context.Command("attach " + command.run + " --from " + std::to_string(offset)));
  if (!context.json) return;
  json::Object result{
      {"runId", command.run}, {"offset", offset}, {"reason", left ? "left" : "session ended"}};
  out.AddTo(result, "output");
  context.PrintJson(std::move(result));
}

struct TurnCommand {
  std::string run, name;
};

void Turn(Context& context, const TurnCommand& command, runner::AccessRequest::Mode mode) {
  runner::AccessRequest request;
  request.mode = mode;
  request.run_id = command.run;
  auto session = AskForSession(context, command.name, request);
  if (!session) return context.Fail(session.error());
  const bool pause = mode == runner::AccessRequest::Mode::kPause;
  if (context.json)
    return context.PrintJson(json::Object{{"runId", command.run}, {"paused", pause}});
  context.Print(command.run + (pause ? " is paused\n" : " goes on\n"));
  if (pause) context.Note("go on with: " + context.Command("resume " + command.run));
}

void AddTurn(CLI::App& app, Context& context, const char* name, const char* what,
             runner::AccessRequest::Mode mode) {
  auto options = std::make_shared<TurnCommand>();
  CLI::App* command = app.add_subcommand(name, what);
  command->add_option("RUN", options->run, "The run, whose job must be running")->required();
  command->add_option("--name", options->name,
                      "Name of the runner's folder below --dir (default: whichever has the run)");
  command->footer(
      std::string(kWhere) +
      "Jobs of the microvm tier alone can be paused: the machine stands still with all that it has "
      "in memory, and keeps its slot and its lease. Its time limit goes on, and so do those of "
      "whoever it is connected to. When it goes on its clock is set first. A run that is "
      "cancelled or timed out goes on for its grace; a machine that cannot go on is destroyed, and "
      "its run is lost.\n\n"
      "Examples:\n"
      "  writ pause run_1234\n"
      "  writ runner status          shows it as paused\n"
      "  writ resume run_1234\n\n"
      "Exit: 0 done, 1 refused: of another tier (access.no_pause), not granted, paused "
      "already (job.paused), not paused (job.not_paused); 2 where no job of that run is running "
      "(access.no_such_run).");
  command->callback([&context, options, mode] { Turn(context, *options, mode); });
}

}  // namespace

void AddSession(CLI::App& app, Context& context) {
  auto exec = std::make_shared<ExecCommand>();
  CLI::App* exec_app =
      app.add_subcommand("exec", "Run a command beside a running job, held as it is");
  exec_app->add_option("RUN", exec->run, "The run, whose job must be running")->required();
  exec_app->add_option("COMMAND", exec->words, "The command and its arguments (after --)")
      ->required();
  exec_app->add_option("--name", exec->name,
                       "Name of the runner's folder below --dir (default: whichever has the run)");
  exec_app->add_flag("-t,--tty", exec->tty, "Give it a terminal of the session's own");
  exec_app->add_flag("--no-stdin", exec->no_stdin, "Its standard input is at its end");
  exec_app->add_option("--cwd", exec->cwd, "Working directory (default: the workspace)");
  exec_app->add_option("--env", exec->vars, "Variable of its own, NAME=VALUE; may be repeated")
      ->allow_extra_args(false);
  exec_app->add_option("--timeout", exec->timeout, "End it after this long (90s, 10m, 1h30m)");
  exec_app->footer(
      std::string(kWhere) +
      "The command has the job's identity, files, network, limits and system call filter, and none "
      "of its secrets. It ends with this program, and with the session at the latest.\n\n"
      "Examples:\n"
      "  writ exec run_1234 -- ls -l\n"
      "  writ exec --tty run_1234 -- bash\n"
      "  tar c fixtures | writ exec run_1234 -- tar x\n\n"
      "Exit: the command's own (128+N for signal N, 127 not found, 126 not executable); 125 where "
      "it could not be run or its exit is not known.");
  exec_app->callback([&context, exec] { Exec(context, *exec); });

  auto attach = std::make_shared<AttachCommand>();
  CLI::App* attach_app =
      app.add_subcommand("attach", "See a running job's output from any byte on, and type at it");
  attach_app->add_option("RUN", attach->run, "The run, whose job must be running")->required();
  attach_app->add_option(
      "--name", attach->name,
      "Name of the runner's folder below --dir (default: whichever has the run)");
  attach_app->add_option("--from", attach->from, "Byte of the output to begin with")
      ->capture_default_str();
  attach_app->add_flag("--stderr", attach->errors,
                       "Standard error, where the run keeps it separate");
  attach_app->add_flag("--stdin", attach->input,
                       "Type at the job's terminal (a run with --tty; needs grants.session.input)");
  attach_app->add_option("--detach-keys", attach->keys, "Keys that detach, typed in a row")
      ->capture_default_str();
  attach_app->add_option("--timeout", attach->timeout, "Detach after this long");
  attach_app->footer(std::string(kWhere) +
                     "Output is shown after redaction. On a terminal only harmless control "
                     "sequences of it are passed on.\n\n"
                     "Examples:\n"
                     "  writ attach run_1234\n"
                     "  writ attach run_1234 --from 4096 > rest.log\n"
                     "  writ attach run_1234 --stdin");
  attach_app->callback([&context, attach] { Attach(context, *attach); });

  AddTurn(app, context, "pause", "Make a running job's machine stand still",
          runner::AccessRequest::Mode::kPause);
  AddTurn(app, context, "resume", "Let a paused job's machine go on",
          runner::AccessRequest::Mode::kResume);
}

}  // namespace writ::cli
