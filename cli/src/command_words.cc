#include "command_words.h"

#include <CLI/CLI.hpp>

namespace writ::cli {
namespace {

// CLI11 says what is allowed within the type: "LEVEL:{debug,info}".
void SplitType(const std::string& type, std::string& operand, std::vector<std::string>& choices) {
  const std::size_t colon = type.find(':');
  operand = type.substr(0, colon);
  if (colon == std::string::npos) return;
  const std::size_t open = type.find('{', colon), close = type.find('}', colon);
  if (open == std::string::npos || close == std::string::npos) return;
  for (std::size_t at = open + 1; at < close;) {
    const std::size_t comma = std::min(type.find(',', at), close);
    choices.push_back(type.substr(at, comma - at));
    at = comma + 1;
  }
}

CommandWords Describe(const CLI::App& app, const std::string& above) {
  CommandWords out;
  out.name = app.get_name();
  out.path = above + out.name;
  out.description = app.get_description();
  out.footer = app.get_footer();
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group().empty()) continue;
    std::string operand;
    std::vector<std::string> choices;
    SplitType(option->get_type_name(), operand, choices);
    const bool repeats = option->get_items_expected_max() > 1;
    if (option->get_positional()) {
      out.positionals.push_back({option->get_single_name(), option->get_description(), choices,
                                 option->get_required(), repeats});
      continue;
    }
    OptionWords words;
    for (const std::string& name : option->get_lnames()) words.names.push_back("--" + name);
    for (const std::string& name : option->get_snames()) words.names.push_back("-" + name);
    if (option->get_items_expected_max() > 0) words.operand = operand.empty() ? "VALUE" : operand;
    words.choices = std::move(choices);
    words.description = option->get_description();
    words.fallback = option->get_default_str();
    words.repeats = repeats;
    words.required = option->get_required();
    out.options.push_back(std::move(words));
  }
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    if (!command->get_group().empty()) out.commands.push_back(Describe(*command, out.path + " "));
  return out;
}

}  // namespace

CommandWords DescribeCommands(const CLI::App& app) {
  return Describe(app, "");
}

std::vector<const CommandWords*> Flatten(const CommandWords& words) {
  std::vector<const CommandWords*> out{&words};
  for (const CommandWords& command : words.commands)
    for (const CommandWords* below : Flatten(command)) out.push_back(below);
  return out;
}

}  // namespace writ::cli
