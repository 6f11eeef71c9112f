#include "usage.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

namespace writ::cli {
namespace {

struct Operand {
  std::string_view option;
  const char* name;
};
constexpr std::array kOperands = {
    Operand{"agent", "KIND"},
    Operand{"allow-access", "WHAT"},
    Operand{"allow-host", "HOST"},
    Operand{"allow-untracked", "GLOB"},
    Operand{"arg", "ARGUMENT"},
    Operand{"artifact", "GLOB"},
    Operand{"as", "NAME"},
    Operand{"client-ca", "FILE"},
    Operand{"client-cert", "FILE"},
    Operand{"client-key", "FILE"},
    Operand{"config", "FILE"},
    Operand{"cpu-time", "DURATION"},
    Operand{"cpus", "N"},
    Operand{"cwd", "DIR"},
    Operand{"detach-keys", "KEYS"},
    Operand{"dir", "DIR"},
    Operand{"disclosure", "MODE"},
    Operand{"disk", "SIZE"},
    Operand{"enroll-token-file", "FILE"},
    Operand{"env", "NAME=VALUE"},
    Operand{"exit-when-idle", "DURATION"},
    Operand{"file", "FILE"},
    Operand{"from", "BYTE"},
    Operand{"from-command", "PROGRAM"},
    Operand{"from-env", "VARIABLE"},
    Operand{"from-file", "FILE"},
    Operand{"host", "ADDRESS"},
    Operand{"image", "IMAGE"},
    Operand{"io", "SIZE"},
    Operand{"isolation", "TIER"},
    Operand{"kernel", "FILE"},
    Operand{"key-manifest", "FILE"},
    Operand{"lifetime", "DURATION"},
    Operand{"limit", "N"},
    Operand{"log-level", "LEVEL"},
    Operand{"max-bytes", "N"},
    Operand{"max-runs", "N"},
    Operand{"max-spend", "USD"},
    Operand{"memory", "SIZE"},
    Operand{"metrics", "ADDRESS"},
    Operand{"modules", "DIR"},
    Operand{"name", "NAME"},
    Operand{"open-files", "N"},
    Operand{"org-key", "FILE"},
    Operand{"out", "FILE"},
    Operand{"overlap", "DURATION"},
    Operand{"plane", "URL"},
    Operand{"plane-ca", "FILE"},
    Operand{"plane-key", "FILE"},
    Operand{"plane-proxy", "URL"},
    Operand{"plane-timeout", "DURATION"},
    Operand{"pool", "POOL"},
    Operand{"port", "PORT"},
    Operand{"processes", "N"},
    Operand{"reconnect", "DURATION"},
    Operand{"repo", "DIR"},
    Operand{"result", "FILE"},
    Operand{"role", "ROLE"},
    Operand{"root", "DIR"},
    Operand{"runner-key", "FILE"},
    Operand{"scope", "SCOPE"},
    Operand{"secret", "NAME"},
    Operand{"since", "WHEN"},
    Operand{"slots", "N"},
    Operand{"status", "STATE"},
    Operand{"syscalls", "SET"},
    Operand{"timeout", "DURATION"},
    Operand{"tls-cert", "FILE"},
    Operand{"tls-key", "FILE"},
    Operand{"token-file", "FILE"},
    Operand{"traceparent", "TRACEPARENT"},
    Operand{"warm-up", "COMMAND"},
};

// The command that was asked for, as far as it is known: "writ secrets set".
const CLI::App& Deepest(const CLI::App& app, std::string& path) {
  path += (path.empty() ? "" : " ") + app.get_name();
  const auto chosen = app.get_subcommands();
  return chosen.empty() ? app : Deepest(*chosen.back(), path);
}

}  // namespace

Error ExplainUsage(const CLI::App& app, const CLI::ParseError& error) {
  std::string path;
  const CLI::App& command = Deepest(app, path);
  Error out{.kind = ErrorKind::kInvalid,
            .code = "cli.usage",
            .message = error.what(),
            .hint = "`" + path + " --help` has examples"};
  if (dynamic_cast<const CLI::RequiredError*>(&error) != nullptr &&
      command.get_require_subcommand_min() > 0 && command.get_subcommands().empty()) {
    const auto rest = app.remaining(true);  // words that fit nowhere fall through to the top
    const auto word = std::find_if(rest.begin(), rest.end(),
                                   [](const std::string& text) { return !text.starts_with('-'); });
    out.message = word != rest.end() ? "`" + path + "` has no command '" + *word + "'"
                  : !rest.empty()    ? "`" + path + "` has no option " + rest.front()
                                     : "`" + path + "` needs a command";
    out.hint = "`" + path + " --help` lists them, with examples";
  } else if (dynamic_cast<const CLI::ConversionError*>(&error) != nullptr) {
    constexpr std::string_view kBefore = "Could not convert: ", kBetween = " = ";
    const std::size_t between = out.message.find(kBetween);
    if (out.message.starts_with(kBefore) && between != std::string::npos)
      out.message = out.message.substr(kBefore.size(), between - kBefore.size()) + " cannot be '" +
                    out.message.substr(between + kBetween.size()) + "'";
  } else if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr) {
    const auto rest = app.remaining(true);
    if (!rest.empty()) out.message = "`" + path + "` does not know '" + rest.front() + "'";
  }
  return out;
}

void NameOperands(CLI::App& app) {
  for (CLI::Option* option : app.get_options()) {
    if (option->get_positional()) {
      option->type_name("");  // "RUN REQUIRED": the name says it
      continue;
    }
    for (const Operand& operand : kOperands)
      if (option->check_lname(std::string(operand.option)) && option->get_items_expected_max() > 0)
        option->type_name(operand.name);
  }
  for (CLI::App* command : app.get_subcommands({})) NameOperands(*command);
}

}  // namespace writ::cli
