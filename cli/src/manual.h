// Manual pages: a hand-written page in man(7) with lines that name what is put in their place, so
// that commands, options and settings are those of the program.
//
//   @VERSION@               within the text: the version
//   @OPTIONS writ@          the options of a command
//   @COMMANDS writ runner@  a command and everything below it: synopsis, options, examples
//   @EXCEPT writ plane@     before @COMMANDS: leaves that one out
//   @SETTINGS runner@       the settings of a configuration file: name, variable, default
#pragma once

#include <string>
#include <string_view>

#include "command_words.h"
#include "writ/base/result.h"

namespace writ::cli {

// kInvalid "manual.unknown" for a line that names what there is not.
Result<std::string> RenderManual(std::string_view page, const CommandWords& commands,
                                 std::string_view version);

// `text` as roff prints it unchanged: no character of it is a request or an escape.
std::string RoffText(std::string_view text);

}  // namespace writ::cli
