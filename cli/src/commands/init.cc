#include <CLI/CLI.hpp>

#include "commands.h"
#include "context.h"
#include "home.h"
#include "writ/plane/init.h"

namespace writ::cli {

void AddInit(CLI::App& app, Context& context) {
  CLI::App* init =
      app.add_subcommand("init", "Make keys, policy, configuration and secrets store under --dir");
  init->footer(
      "Makes what is missing and never overwrites: a second call keeps everything.\n"
      "Private files get mode 0600.\n\n"
      "Examples:\n  writ init\n  writ --dir ./state init --json");
  init->callback([&context] {
    auto report = plane::Init(context.dir);
    if (!report) return context.Fail(ExplainDirError(std::move(report).error(), context.dir));
    if (context.json) {
      context.PrintJson(json::Object{{"dir", context.dir},
                                     {"created", json::Value::Texts(report->created)},
                                     {"kept", json::Value::Texts(report->kept)}});
      return;
    }
    context.Print("state directory: " + context.dir + "\n");
    for (const std::string& path : report->created) context.Print("  made  " + path + "\n");
    for (const std::string& path : report->kept) context.Print("  kept  " + path + "\n");
    context.Print("next: " + context.Command("run \"TASK\"") + " in a git checkout, or edit " +
                  context.dir + "/policy.json first\n");
  });
}

}  // namespace writ::cli
