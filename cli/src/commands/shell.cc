// completion, and the hidden manual: both made from the command tree.
#include <CLI/CLI.hpp>

#include <memory>

#include "command_words.h"
#include "commands.h"
#include "completion.h"
#include "context.h"
#include "manual.h"
#include "writ/base/file.h"

namespace writ::cli {
namespace {

struct ManualCommand {
  std::string page;
  std::string version;
};

void PrintManual(Context& context, const CLI::App& app, const ManualCommand& command) {
  auto page = ReadFile(command.page, 1 << 20);
  if (!page) return context.Fail(kUsage, page.error());
  auto text = RenderManual(*page, DescribeCommands(app), command.version);
  if (!text) return context.Fail(text.error());
  context.Print(*text);
}

}  // namespace

void AddShell(CLI::App& app, Context& context) {
  auto shell = std::make_shared<std::string>();
  CLI::App* completion = app.add_subcommand("completion", "Print the completion script of a shell");
  completion->add_option("SHELL", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  completion->footer(
      "An installed writ has them in place. By hand:\n"
      "  bash:  source <(writ completion bash)\n"
      "  zsh:   writ completion zsh >~/.zfunc/_writ        (with ~/.zfunc in fpath)\n"
      "  fish:  writ completion fish >~/.config/fish/completions/writ.fish\n\n"
      "Examples:\n  writ completion bash");
  completion->callback([&app, &context, shell] {
    const std::string script = CompletionScript(*ParseShell(*shell), DescribeCommands(app));
    if (context.json) return context.PrintJson(json::Object{{"shell", *shell}, {"script", script}});
    context.Print(script);
  });

  auto options = std::make_shared<ManualCommand>();
  CLI::App* manual = app.add_subcommand("manual", "Print a manual page, at build time");
  manual->group("");  // for the build, not for people
  manual->add_option("PAGE", options->page, "The hand-written page")->required();
  manual->add_option("--of-version", options->version, "The version that it names");
  manual->callback([&app, &context, options] { PrintManual(context, app, *options); });
}

}  // namespace writ::cli
