// CommandWords: the command tree as data - what the completions of shells and the manual pages are
// made from, so that neither can say anything else than the program does. Hidden commands and
// options (those without a group) are left out.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace writ::cli {

struct OptionWords {
  std::vector<std::string> names;    // "--out", "-o"
  std::string operand;               // "FILE"; empty: a flag
  std::vector<std::string> choices;  // all that the operand may be; empty: free
  std::string description;
  std::string fallback;  // the default, where help shows one
  bool repeats = false;
  bool required = false;
};

struct PositionalWords {
  std::string name;  // "RUN"
  std::string description;
  std::vector<std::string> choices;
  bool required = false;
  bool repeats = false;
};

struct CommandWords {
  std::string name;  // "start"
  std::string path;  // "writ runner start"
  std::string description;
  std::string footer;
  std::vector<OptionWords> options;
  std::vector<PositionalWords> positionals;
  std::vector<CommandWords> commands;
};

CommandWords DescribeCommands(const CLI::App& app);

// `words` and everything below it, parents first.
std::vector<const CommandWords*> Flatten(const CommandWords& words);

}  // namespace writ::cli
