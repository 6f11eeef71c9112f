#include "completion.h"

#include "home.h"

namespace writ::cli {
namespace {

// What an operand's name says of it to a shell.
enum class Kind { kFile, kDirectory, kFree };
Kind KindOf(std::string_view operand) {
  if (operand == "FILE" || operand == "BUNDLE") return Kind::kFile;
  if (operand == "DIR") return Kind::kDirectory;
  return Kind::kFree;
}

std::string Joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : " ") + word;
  return out;
}

std::string OptionNames(const CommandWords& command) {
  std::string out;
  for (const OptionWords& option : command.options)
    out += (out.empty() ? "" : " ") + Joined(option.names);
  return out;
}

// "FILE", "DIR", "=one two" or "-": what follows in the line.
std::string What(std::string_view operand, const std::vector<std::string>& choices) {
  if (!choices.empty()) return "=" + Joined(choices);
  switch (KindOf(operand)) {
    case Kind::kFile:
      return "FILE";
    case Kind::kDirectory:
      return "DIR";
    case Kind::kFree:
      return "-";
  }
  return "-";
}

// The tables, as functions of sh that both bash and zsh run: each echoes one line, or nothing.
std::string ShellTables(const CommandWords& root) {
  const std::string say = "printf '%s\\n' ";
  std::string commands, options, operands, positionals;
  for (const CommandWords* command : Flatten(root)) {
    const std::string path = "    '" + command->path + "') " + say;
    if (!command->commands.empty()) {
      std::vector<std::string> names;
      for (const CommandWords& below : command->commands) names.push_back(below.name);
      commands += path + ShellWord(Joined(names)) + " ;;\n";
    }
    options += path + ShellWord(OptionNames(*command)) + " ;;\n";
    for (const OptionWords& option : command->options) {
      if (option.operand.empty()) continue;
      std::string patterns;
      for (const std::string& name : option.names)
        patterns += (patterns.empty() ? "'" : "|'") + command->path + " " + name + "'";
      operands += "    " + patterns + ") " + say + ShellWord(What(option.operand, option.choices)) +
                  " ;;\n";
    }
    if (!command->positionals.empty()) {
      const PositionalWords& first = command->positionals.front();
      positionals += path + ShellWord(What(first.name, first.choices)) + " ;;\n";
    }
  }
  auto function = [](const char* name, const std::string& lines) {
    return std::string(name) + "() {\n  case $1 in\n" + lines + "  esac\n}\n";
  };
  return function("_writ_commands", commands) + function("_writ_options", options) +
         function("_writ_operand", operands) + function("_writ_positional", positionals);
}

constexpr char kBashWalk[] = R"sh(
_writ() {
  local cur=${COMP_WORDS[COMP_CWORD]} path=writ pending= word name what i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    [[ $word == = ]] && continue
    if [[ -n $pending ]]; then pending=; continue; fi
    [[ $word == -- ]] && { compopt -o default 2>/dev/null; return; }
    if [[ $word == -* ]]; then
      pending=$(_writ_operand "$path $word")
      [[ -n $pending ]] || pending=$(_writ_operand "writ $word")
      continue
    fi
    for name in $(_writ_commands "$path"); do
      if [[ $name == "$word" ]]; then path="$path $word"; break; fi
    done
  done
  [[ $cur == = ]] && cur=
  if [[ -n $pending ]]; then
    what=$pending
  elif [[ $cur == -* ]]; then
    what="=$(_writ_options "$path") $(_writ_options writ)"
  else
    what=$(_writ_commands "$path")
    if [[ -n $what ]]; then what="=$what"; else what=$(_writ_positional "$path"); fi
  fi
  case $what in
    =*) mapfile -t COMPREPLY < <(compgen -W "${what#=}" -- "$cur" | sort -u) ;;
    FILE) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    DIR) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
  esac
}
complete -F _writ writ
)sh";

constexpr char kZshWalk[] = R"sh(
_writ() {
  emulate -L zsh
  local cur=${words[CURRENT]} path_=writ pending= word what i
  for ((i = 2; i < CURRENT; i++)); do
    word=${words[i]}
    if [[ -n $pending ]]; then pending=; continue; fi
    [[ $word == -- ]] && { _default; return; }
    [[ $word == --*=* ]] && continue
    if [[ $word == -* ]]; then
      pending=$(_writ_operand "$path_ $word")
      [[ -n $pending ]] || pending=$(_writ_operand "writ $word")
      continue
    fi
    if [[ " $(_writ_commands "$path_") " == *" $word "* ]]; then path_="$path_ $word"; fi
  done
  if [[ -n $pending ]]; then
    what=$pending
  elif [[ $cur == -* ]]; then
    what="=$(_writ_options "$path_") $(_writ_options writ)"
  else
    what=$(_writ_commands "$path_")
    if [[ -n $what ]]; then what="=$what"; else what=$(_writ_positional "$path_"); fi
  fi
  case $what in
    =*) compadd -- ${(z)what#=} ;;
    FILE) _files ;;
    DIR) _files -/ ;;
  esac
}
if [[ ${funcstack[1]} == _writ ]]; then _writ "$@"; else compdef _writ writ; fi
)sh";

constexpr char kFishWalk[] = R"sh(
# The path of commands on the line so far: "writ runner start".
function __writ_path
  set -l path writ
  set -l pending 0
  for word in (commandline -opc)[2..-1]
    if test $pending = 1
      set pending 0
      continue
    end
    switch $word
      case '--*=*'
        continue
      case '-*'
        contains -- "$path $word" $__writ_operands; and set pending 1
        contains -- "writ $word" $__writ_operands; and set pending 1
        continue
    end
    contains -- "$path $word" $__writ_paths; and set path "$path $word"
  end
  echo $path
end
function __writ_at
  test (__writ_path) = "$argv[1]"
end
)sh";

std::string FishQuoted(std::string_view text) {
  std::string out = "'";
  for (char c : text) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c;
  }
  return out + "'";
}

std::string FishScript(const CommandWords& root) {
  std::string paths, operands, lines;
  for (const CommandWords* command : Flatten(root)) {
    paths += " " + FishQuoted(command->path);
    const std::string at = command == &root
                               ? std::string("complete -c writ")
                               : "complete -c writ -n \"__writ_at '" + command->path + "'\"";
    const std::string at_here = "complete -c writ -n \"__writ_at '" + command->path + "'\"";
    for (const OptionWords& option : command->options) {
      std::string line = at;
      for (const std::string& name : option.names) {
        const bool is_long = name.starts_with("--");
        line += (is_long ? " -l " : " -s ") + name.substr(is_long ? 2 : 1);
        if (!option.operand.empty()) operands += " " + FishQuoted(command->path + " " + name);
      }
      if (!option.choices.empty())
        line += " -x -a " + FishQuoted(Joined(option.choices));
      else if (KindOf(option.operand) == Kind::kFile)
        line += " -r -F";
      else if (KindOf(option.operand) == Kind::kDirectory)
        line += " -x -a '(__fish_complete_directories)'";
      else if (!option.operand.empty())
        line += " -x";
      lines += line + " -d " + FishQuoted(option.description) + "\n";
    }
    for (const CommandWords& below : command->commands)
      lines += at_here + " -f -a " + FishQuoted(below.name) + " -d " +
               FishQuoted(below.description) + "\n";
    if (!command->positionals.empty()) {
      const PositionalWords& first = command->positionals.front();
      if (!first.choices.empty())
        lines += at_here + " -f -a " + FishQuoted(Joined(first.choices)) + "\n";
      else if (KindOf(first.name) == Kind::kFree)
        lines += at_here + " -f\n";
    }
  }
  return "# Completion of writ for fish; made by `writ completion fish`.\nset -g __writ_paths" +
         paths + "\nset -g __writ_operands" + operands + "\n" + kFishWalk + lines;
}

}  // namespace

std::optional<Shell> ParseShell(std::string_view name) {
  if (name == "bash") return Shell::kBash;
  if (name == "zsh") return Shell::kZsh;
  if (name == "fish") return Shell::kFish;
  return std::nullopt;
}

std::string CompletionScript(Shell shell, const CommandWords& commands) {
  switch (shell) {
    case Shell::kBash:
      return "# Completion of writ for bash; made by `writ completion bash`.\n" +
             ShellTables(commands) + kBashWalk;
    case Shell::kZsh:
      return "#compdef writ\n# Completion of writ for zsh; made by `writ completion zsh`.\n" +
             ShellTables(commands) + kZshWalk;
    case Shell::kFish:
      return FishScript(commands);
  }
  return "";
}

}  // namespace writ::cli
