// checkpoint, fork: what a job in a machine has changed so far, kept at the run's plane, and new
// runs that begin from it.
#include <CLI/CLI.hpp>

#include <memory>
#include <string>
#include <vector>

#include "access.h"
#include "commands.h"
#include "context.h"
#include "run_follow.h"
#include "session_access.h"
#include "watch.h"
#include "writ/protocol/contract.h"
#include "writ/protocol/event.h"
#include "writ/protocol/events.h"

namespace writ::cli {
namespace {

struct CheckpointCommand {
  std::string run, name;
};

struct ForkCommand {
  Access access;
  std::string run, checkpoint, reconnect;
  std::vector<std::string> words;
  std::vector<std::string> allow_access;
  bool no_watch = false;
};

void Checkpoint(Context& context, const CheckpointCommand& command) {
  runner::AccessRequest request;
  request.mode = runner::AccessRequest::Mode::kCheckpoint;
  request.run_id = command.run;
  auto session = AskForSession(context, command.name, request);
  if (!session) return context.Fail(session.error());
  if (context.json) return context.PrintJson(session->taken);
  const std::string id(session->taken.FindString("checkpointId").value_or(""));
  context.Print(id + "\n");
  context.Note("begin another run from it with: " +
               context.Command("fork " + command.run + " --checkpoint " + id.substr(0, 12)));
}

// The one that is meant: the last, or the only one whose id begins so.
Result<std::string> ChooseCheckpoint(const plane::RunDetail& run, const ForkCommand& command) {
  std::string chosen;
  bool several = false;
  for (const std::string& text : run.events) {
    WRIT_ASSIGN(const json::Value value, json::Parse(text));
    WRIT_ASSIGN(const protocol::Event event, protocol::Event::Parse(value));
    if (event.type() != protocol::events::kCheckpointCreated) continue;
    const std::string id(event.event.FindString("checkpointId").value_or(""));
    if (!command.checkpoint.empty() && !id.starts_with(command.checkpoint)) continue;
    several = several || (!command.checkpoint.empty() && !chosen.empty() && chosen != id);
    chosen = id;
  }
  if (several)
    return Error{ErrorKind::kInvalid, "cli.several_checkpoints",
                 "several checkpoints of " + command.run + " begin so", "give more of its id"};
  if (chosen.empty())
    return Error{
        ErrorKind::kNotFound, "cli.no_checkpoint",
        command.run + " has no " + (command.checkpoint.empty() ? "checkpoint" : "such checkpoint"),
        "writ checkpoint " + command.run + " takes one while its job runs"};
  return chosen;
}

// Another task of the same kind.
Status TakeTask(const std::vector<std::string>& words, protocol::Execution& execution,
                std::string& prompt) {
  using Kind = protocol::Execution::Kind;
  for (const std::string& word : words)
    if (!json::IsWellFormedUtf8(word))
      return Error{ErrorKind::kInvalid, "cli.task_not_text",
                   "the task is not UTF-8 text, which a contract cannot carry"};
  if (execution.kind == Kind::kArgv) {
    execution.command = words.front();
    execution.args.assign(words.begin() + 1, words.end());
  } else if (words.size() > 1) {
    return Error{ErrorKind::kInvalid, "cli.two_tasks", "a run has one task", "put it in quotes"};
  } else {
    (execution.kind == Kind::kShell ? execution.script : execution.prompt) = words.front();
  }
  execution.raw = {};  // it is not as it was read any more
  prompt.clear();
  for (const std::string& word : words) prompt += (prompt.empty() ? "" : " ") + word;
  return {};
}

// What the run was asked for, once more, and where it begins.
Result<json::Value> ForkRequest(const protocol::Contract& of, const std::string& checkpoint,
                                const ForkCommand& command) {
  std::vector<std::string> secrets;
  for (const protocol::SecretGrant& grant : of.secrets) secrets.push_back(grant.name.text());
  protocol::Execution execution = of.EffectiveExecution();
  std::string prompt = of.prompt;
  if (!command.words.empty()) WRIT_TRY(TakeTask(command.words, execution, prompt));
  json::Object request{
      {"agentKind", of.agent.kind.text()},
      {"secretNames", json::Value::Texts(secrets)},
      {"network", of.network.ToJson()},
      {"budget", of.budget.ToJson()},
      {"disclosure", protocol::Word(of.disclosure)},
      {"workspace", of.workspace.ToJson()},
      {"pool", of.pool},
      {"prompt", prompt},
      {"execution", execution.ToJson()},
      {"isolation", of.isolation.value_or(std::string(protocol::Word(protocol::Tier::kMicroVm)))},
      {"continuation", json::Object{{"envelopeHash", of.Hash()},
                                    {"checkpointId", checkpoint},
                                    {"tier", protocol::kCheckpointTier}}}};
  request.SetOptional("agentVersion", of.agent.version);
  return json::Value(std::move(request));
}

void Fork(Context& context, ForkCommand& command) {
  if (!command.allow_access.empty() && !command.access.local())
    return context.Fail(Error{ErrorKind::kInvalid, "cli.access_remote",
                              "--allow-access is for runs of this process",
                              "a runner's operator grants it: grants.session in its runner.json"});
  auto reconnect = ParseReconnect(command.reconnect);
  if (!reconnect) return context.Fail(reconnect.error());
  auto requester = command.access.Open(context);
  if (!requester) return context.Fail(requester.error());
  auto run = (*requester)->Run(command.run);
  if (!run) return context.Fail(run.error());
  auto checkpoint = ChooseCheckpoint(*run, command);
  if (!checkpoint) return context.Fail(checkpoint.error());
  auto parsed = json::Parse(run->contract);
  auto contract = parsed ? protocol::Contract::Parse(*parsed)
                         : Result<protocol::Contract>(std::move(parsed).error());
  if (!contract) return context.Fail(contract.error());
  auto request = ForkRequest(*contract, *checkpoint, command);
  if (!request) return context.Fail(kUsage, request.error());
  auto answer = (*requester)->Submit(json::Write(json::Object{{"request", std::move(*request)}}));
  if (!answer) return context.Fail(answer.error());
  if (answer->kind != plane::Submission::Kind::kAccepted)
    return ReportRefusal(context, command.access, *answer);
  FollowRun(context, *answer,
            {.access = command.access,
             .requester = **requester,
             .pool = contract->pool.text(),
             .allow_access = command.allow_access,
             .reconnect = *reconnect,
             .watch = !command.no_watch});
}

}  // namespace

void AddCheckpoint(CLI::App& app, Context& context) {
  auto take = std::make_shared<CheckpointCommand>();
  CLI::App* checkpoint = app.add_subcommand(
      "checkpoint", "Keep what a running job in a machine has changed so far, for forks");
  checkpoint->add_option("RUN", take->run, "The run, whose job must be running")->required();
  checkpoint->add_option(
      "--name", take->name,
      "Name of the runner's folder below --dir (default: whichever has the run)");
  checkpoint->footer(
      "The job stands still while its changed files are read, and goes on: all files of its "
      "workspace that are not as they came, those that git ignores and its .git among them. They "
      "go to the run's plane, as its diff does in the end, and the checkpoint's id is their hash; "
      "the chain has checkpoint.created. Memory, processes, HOME and temporary files are no part "
      "of it.\n\n"
      "On the machine of the runner, as its user or root, and only where its operator granted it "
      "(grants.session.checkpoint in runner.json, `writ run --allow-access checkpoint`). A "
      "workspace with the value of a released secret in it has no checkpoint "
      "(checkpoint.secret), and neither has a run whose contract discloses no files "
      "(access.undisclosed).\n\n"
      "Examples:\n"
      "  writ checkpoint run_1234\n"
      "  writ fork run_1234 \"now try it with the other library\"\n\n"
      "Exit: 0 done, 1 refused: of another tier (access.no_checkpoint), not granted, paused "
      "(job.paused); 2 where no job of that run is running (access.no_such_run).");
  checkpoint->callback([&context, take] { Checkpoint(context, *take); });

  auto options = std::make_shared<ForkCommand>();
  CLI::App* fork =
      app.add_subcommand("fork", "Begin a new run from a checkpoint of another, ended or not");
  fork->add_option("RUN", options->run, "The run that the checkpoint is of")->required();
  fork->add_option("TASK", options->words,
                   "In place of that run's task, of the same kind: a prompt, a shell script, or a "
                   "command and its arguments (after --)");
  fork->add_option("--checkpoint", options->checkpoint,
                   "Its id, or the beginning of it (default: the last one)");
  fork->add_option("--allow-access", options->allow_access,
                   "As of `writ run`: attach, input, exec, copy, pause, checkpoint")
      ->delimiter(',')
      ->check(CLI::IsMember({"attach", "input", "exec", "copy", "pause", "checkpoint"}))
      ->allow_extra_args(false);
  fork->add_flag("--no-watch", options->no_watch,
                 "Submit and leave; a runner has to be serving the plane");
  AddReconnect(*fork, options->reconnect);
  options->access.AddOptions(*fork);
  fork->footer(
      "A fork is a run of its own: a contract that names the checkpoint (continuation), under the "
      "policy as it is now, with secrets released anew, a machine of its own - entropy, clock, "
      "names, tokens - and a receipt. It asks for what that run asked for. Its workspace is that "
      "run's as it was sent, and over it the files of the checkpoint; its diff is against the "
      "base and holds both.\n\n"
      "Only whose run it is, or an administrator, forks it. The checkpoint is kept as long as the "
      "run's other artifacts (retention).\n\n"
      "Examples:\n"
      "  writ fork run_1234\n"
      "  writ fork run_1234 --checkpoint 0123456789ab \"make test\"\n\n"
      "Exit: as `writ run`; 2 where there is no such run or checkpoint.");
  fork->callback([&context, options] { Fork(context, *options); });
}

}  // namespace writ::cli
