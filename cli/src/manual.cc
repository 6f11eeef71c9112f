#include "manual.h"

#include <set>

#include "settings.h"

namespace writ::cli {
namespace {

std::string Bold(std::string_view text) {
  return "\\fB" + RoffText(text) + "\\fR";
}
std::string Italic(std::string_view text) {
  return "\\fI" + RoffText(text) + "\\fR";
}

// At the start of a line a dot or an apostrophe would be a request.
std::string Line(std::string text) {
  if (!text.empty() && (text.front() == '.' || text.front() == '\'')) text = "\\&" + text;
  return text + "\n";
}

// Text of several lines as it stands, examples above all.
std::string Verbatim(std::string_view text) {
  std::string out = ".PP\n.nf\n.RS 4\n";
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    out += Line(RoffText(text.substr(at, end - at)));
    at = end + 1;
  }
  return out + ".RE\n.fi\n";
}

std::string Options(const CommandWords& command) {
  std::string out;
  for (const OptionWords& option : command.options) {
    std::string names;
    for (const std::string& name : option.names) names += (names.empty() ? "" : ", ") + Bold(name);
    out += ".TP\n" + names + (option.operand.empty() ? "" : " " + Italic(option.operand)) + "\n";
    std::string text = RoffText(option.description);
    if (!option.choices.empty()) {
      text += " (one of";
      for (const std::string& choice : option.choices) text += " " + RoffText(choice);
      text += ")";
    }
    if (!option.fallback.empty()) text += " [" + RoffText(option.fallback) + "]";
    if (option.required) text += " (required)";
    out += Line(text);
  }
  return out;
}

std::string Synopsis(const CommandWords& command) {
  std::string out = Bold(command.path);
  for (const PositionalWords& word : command.positionals) {
    std::string name = Italic(word.name) + (word.repeats ? "..." : "");
    out += word.required ? " " + name : " [" + name + "]";
  }
  if (!command.commands.empty()) out += " " + Italic("COMMAND");
  return out + " [" + Italic("OPTIONS") + "]";
}

void Command(const CommandWords& command, const std::set<std::string, std::less<>>& left_out,
             std::string& out) {
  if (left_out.contains(command.path)) return;
  if (command.path.find(' ') != std::string::npos) {  // not writ itself
    out += ".SS \"" + RoffText(command.path) + "\"\n" + Line(Synopsis(command));
    out += ".PP\n" + Line(RoffText(command.description) + ".");
    for (const PositionalWords& word : command.positionals)
      out += ".TP\n" + Italic(word.name) + "\n" + Line(RoffText(word.description));
    out += Options(command);
    if (!command.footer.empty()) out += Verbatim(command.footer);
  }
  for (const CommandWords& below : command.commands) Command(below, left_out, out);
}

Error Unknown(std::string_view line) {
  return Error{ErrorKind::kInvalid, "manual.unknown",
               "a page asks for what there is not: " + std::string(line), ""};
}

Result<std::string> Settings(std::string_view which) {
  auto file = ParseSettingsFile(which);
  if (!file) return Unknown(which);
  std::string out;
  for (const SettingWords& setting : DescribeSettings(*file)) {
    out += ".TP\n" + Bold(setting.name) + (setting.variable.empty() ? "" : ", ") +
           Italic(setting.variable) + "\n";
    out += Line(RoffText(setting.fallback.empty() ? "no default" : "default " + setting.fallback));
  }
  return out;
}

}  // namespace

std::string RoffText(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '\\')
      out += "\\e";
    else if (c == '-')
      out += "\\-";
    else if (c == '\'')
      out += "\\(aq";
    else if (c == '`')
      out += "\\(ga";
    else if (c == '"')
      out += "\\(dq";
    else if (c == '~')
      out += "\\(ti";
    else if (c == '^')
      out += "\\(ha";
    else
      out += c;
  }
  return out;
}

Result<std::string> RenderManual(std::string_view page, const CommandWords& commands,
                                 std::string_view version) {
  std::string out;
  std::set<std::string, std::less<>> left_out;
  for (std::size_t at = 0; at < page.size();) {
    const std::size_t end = std::min(page.find('\n', at), page.size());
    std::string line(page.substr(at, end - at));
    at = end + 1;
    for (std::size_t mark; (mark = line.find("@VERSION@")) != std::string::npos;)
      line.replace(mark, 9, version);
    if (!line.starts_with('@')) {
      out += line + "\n";
      continue;
    }
    const std::size_t space = line.find(' ');
    if (space == std::string::npos || !line.ends_with('@')) return Unknown(line);
    const std::string word = line.substr(1, space - 1);
    const std::string argument = line.substr(space + 1, line.size() - space - 2);
    const CommandWords* command = nullptr;
    for (const CommandWords* each : Flatten(commands))
      if (each->path == argument) command = each;
    if (word == "SETTINGS") {
      WRIT_ASSIGN(std::string settings, Settings(argument));
      out += settings;
    } else if (command == nullptr) {
      return Unknown(line);
    } else if (word == "EXCEPT") {
      left_out.insert(argument);
    } else if (word == "OPTIONS") {
      out += Options(*command);
    } else if (word == "COMMANDS") {
      Command(*command, left_out, out);
    } else {
      return Unknown(line);
    }
  }
  return out;
}

}  // namespace writ::cli
