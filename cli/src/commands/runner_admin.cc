// runners revoke, runners rotate: an administrator's hand on a runner, near or far.
#include <CLI/CLI.hpp>

#include <memory>

#include "access.h"
#include "commands.h"
#include "context.h"

namespace writ::cli {
namespace {

struct RunnerCommand {
  Access access;
  std::string runner;
};

void Revoke(Context& context, RunnerCommand& command) {
  auto requester = command.access.Open(context);
  if (!requester) return context.Fail(requester.error());
  if (auto done = (*requester)->RevokeRunner(command.runner); !done)
    return context.Fail(done.error());
  if (context.json)
    return context.PrintJson(json::Object{{"runnerId", command.runner}, {"revoked", true}});
  context.Print("runner " + command.runner + " is revoked\n");
  context.Note("its open runs are closed as lost; receipts of before still verify");
}

void AskRotation(Context& context, RunnerCommand& command) {
  auto requester = command.access.Open(context);
  if (!requester) return context.Fail(requester.error());
  if (auto done = (*requester)->AskRotation(command.runner); !done)
    return context.Fail(done.error());
  if (context.json)
    return context.PrintJson(json::Object{{"runnerId", command.runner}, {"rotate", true}});
  context.Print("runner " + command.runner + " is asked for another key\n");
  context.Note("it rotates when it has no open run, and gets no new one before that; see " +
               context.Command("runners" + command.access.Arguments()));
}

}  // namespace

void AddRunnerAdmin(CLI::App& app, Context& context) {
  CLI::App* runners = app.get_subcommand("runners");
  auto revoke = std::make_shared<RunnerCommand>();
  CLI::App* end = runners->add_subcommand(
      "revoke", "Take a runner's rights away, at once and in a run too; its runs are closed");
  end->add_option("RUNNER", revoke->runner, "Runner id")->required();
  revoke->access.AddOptions(*end);
  end->footer("Examples:\n  writ runners revoke rnr_1234");
  end->callback([&context, revoke] { Revoke(context, *revoke); });

  auto rotate = std::make_shared<RunnerCommand>();
  CLI::App* ask = runners->add_subcommand("rotate", "Ask a runner to change its key");
  ask->add_option("RUNNER", rotate->runner, "Runner id")->required();
  rotate->access.AddOptions(*ask);
  ask->footer(
      "The runner makes a new key, proves it with the old one, and the old token ends.\n\n"
      "Examples:\n  writ runners rotate rnr_1234");
  ask->callback([&context, rotate] { AskRotation(context, *rotate); });
}

}  // namespace writ::cli
