// Shell completion: one script per shell, made from the command tree. The scripts are plain tables
// and a walk over the words of the line; they start no program and read no file of ours.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "command_words.h"

namespace writ::cli {

enum class Shell { kBash, kZsh, kFish };
std::optional<Shell> ParseShell(std::string_view name);

std::string CompletionScript(Shell shell, const CommandWords& commands);

}  // namespace writ::cli
