// config show, config check: what is set, by whom, and whether a file can be taken.
#include <CLI/CLI.hpp>

#include <algorithm>
#include <memory>

#include "commands.h"
#include "context.h"
#include "home.h"
#include "policy_explain.h"
#include "runner_setup.h"
#include "settings.h"
#include "writ/base/file.h"
#include "writ/plane/serve_check.h"
#include "writ/runner/config_check.h"

namespace writ::cli {
namespace {

struct ShowCommand {
  std::string which;
  std::string config_file;
  bool effective = false;
};

struct Shown {
  SettingsFile file;
  std::string_view name;
  std::string path;
  std::vector<Setting> settings;
};

Result<Shown> Collect(const Context& context, const ShowCommand& command, SettingsFile file) {
  if (file == SettingsFile::kPlane) {
    WRIT_ASSIGN(PlaneSettings settings, ReadPlaneSettings(context.dir, {}));
    return Shown{file, "plane", context.dir + "/config.json", std::move(settings.effective)};
  }
  RunnerSetup setup;
  setup.dir = context.dir;
  setup.config_file = command.config_file;
  WRIT_ASSIGN(RunnerSettings settings, ReadRunnerSettings(setup));
  return Shown{file, "runner", settings.file.empty() ? context.dir + "/runner.json" : settings.file,
               std::move(settings.effective)};
}

void Show(Context& context, const ShowCommand& command) {
  json::Object out;
  for (const SettingsFile file : {SettingsFile::kRunner, SettingsFile::kPlane}) {
    const bool wanted = command.which.empty() || ParseSettingsFile(command.which) == file;
    if (!wanted) continue;
    auto shown = Collect(context, command, file);
    if (!shown) return context.Fail(shown.error());
    json::Array items;
    std::size_t width = 0, value_width = 0;
    std::erase_if(shown->settings, [&](const Setting& setting) {
      return !command.effective && setting.origin == Origin::kDefault;
    });
    for (const Setting& setting : shown->settings) {
      width = std::max(width, setting.name.size());
      value_width =
          std::max(value_width, std::min<std::size_t>(ShownValue(setting.value).size(), 40));
      json::Object item{{"setting", setting.name},
                        {"value", WithoutPasswords(setting.value)},
                        {"source", std::string(OriginName(setting.origin))}};
      if (!setting.from.empty()) item.Set("from", setting.from);
      if (!setting.variable.empty()) item.Set("variable", setting.variable);
      items.push_back(std::move(item));
    }
    out.Set(shown->name, std::move(items));
    context.Print(std::string(shown->name) + " (" + shown->path + ")\n");
    if (shown->settings.empty())
      context.Print("  nothing is set; --effective shows the defaults\n");
    for (const Setting& setting : shown->settings) {
      std::string name = setting.name, value = TerminalSafe(ShownValue(setting.value));
      name.resize(std::max(width, name.size()), ' ');
      value.resize(std::max(value_width, value.size()), ' ');
      context.Print("  " + name + "  " + value + "  " + std::string(OriginName(setting.origin)) +
                    (setting.from.empty() || setting.origin == Origin::kFile
                         ? ""
                         : " " + TerminalSafe(setting.from)) +
                    "\n");
    }
  }
  if (context.json) context.PrintJson(std::move(out));
}

// Which of the two a file is follows from its first line of defence: the plane's names its version.
// Then it is taken as `plane start` and `runner start` take it here, short of asking a plane.
Status CheckFile(const Context& context, const std::string& file, const std::string& text,
                 std::string_view& kind, std::vector<egress::HostFinding>& findings) {
  WRIT_ASSIGN(json::Value value, json::Parse(text, {.max_depth = 16, .max_bytes = 1 << 20}));
  if (value.Find("version") != nullptr) {
    kind = "plane";
    Sources sources;
    sources.file = file;
    sources.text = text;
    sources.environment = CurrentEnvironment();
    WRIT_ASSIGN(PlaneSettings settings, ParsePlaneSettings(sources));
    return plane::CheckServing(settings.serve);
  }
  kind = "runner";
  RunnerSetup setup;
  setup.dir = context.dir;
  setup.config_file = file;
  WRIT_ASSIGN(RunnerSettings settings, ReadRunnerSettings(setup));
  if (settings.config.allow_hosts) findings = egress::LintHosts(*settings.config.allow_hosts);
  return runner::CheckRunnerFile(settings.config);
}

void Check(Context& context, const std::string& file) {
  auto text = ReadFile(file, 1 << 20);
  if (!text) return context.Fail(kUsage, text.error());
  std::string_view kind;
  std::vector<egress::HostFinding> findings;
  if (Status checked = CheckFile(context, file, *text, kind, findings); !checked)
    return context.Fail(kUsage, ExplainSettingsError(std::move(checked).error(), file));
  if (context.json)
    return context.PrintJson(json::Object{{"valid", true},
                                          {"kind", std::string(kind)},
                                          {"warnings", FindingsJson(findings, "/allowHosts")}});
  for (const egress::HostFinding& finding : findings)
    context.NoteError("warning: /allowHosts/" + std::to_string(finding.index),
                      {ErrorKind::kInvalid, finding.code, finding.message, finding.hint});
  context.Print(TerminalSafe(file) + " can be taken as the configuration of a " +
                std::string(kind) + "\n");
}

}  // namespace

void AddConfig(CLI::App& app, Context& context) {
  CLI::App* config =
      app.add_subcommand("config", "The configuration of plane and runner: show it, check a file");
  config->require_subcommand(1);
  config->footer("Examples:\n  writ config show --effective\n  writ config check runner.json");
  auto options = std::make_shared<ShowCommand>();
  CLI::App* show = config->add_subcommand("show", "Show what is set, and by whom");
  show->add_option("WHICH", options->which, "runner or plane (default: both)")
      ->check(CLI::IsMember({"runner", "plane"}));
  show->add_flag("--effective", options->effective, "Defaults too");
  show->add_option("--config", options->config_file,
                   "The runner's file (default: runner.json in --dir, where it is)");
  show->footer(
      "A setting comes from the command line, else from the environment, else from the file, else\n"
      "it is the default. The variable of limits.maxLogBytes of runner.json is\n"
      "WRIT_RUNNER_LIMITS_MAX_LOG_BYTES, that of plane.blobReads of config.json "
      "WRIT_PLANE_BLOB_READS;\n"
      "--json names them all.\n\n"
      "Examples:\n  writ config show\n  writ config show runner --effective\n"
      "  WRIT_RUNNER_SLOTS=4 writ config show runner --json");
  show->callback([&context, options] { Show(context, *options); });

  auto file = std::make_shared<std::string>();
  CLI::App* check = config->add_subcommand("check", "Say whether a file can be taken");
  check->add_option("FILE", *file, "A runner.json or config.json")->required();
  check->footer(
      "It is checked as `writ runner start` and `writ plane start` take it here, with the\n"
      "environment above it; no plane is asked.\n\n"
      "Exit: 0 it can be taken, 2 it cannot.\n\nExamples:\n  writ config check runner.json");
  check->callback([&context, file] { Check(context, *file); });
}

}  // namespace writ::cli
