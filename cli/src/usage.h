// What a wrong command line is answered with, and how help names what an option takes.
#pragma once

#include "writ/base/result.h"

namespace CLI {
class App;
class ParseError;
}  // namespace CLI

namespace writ::cli {

// kInvalid "cli.usage": what is wrong in one sentence, and the command whose --help has examples.
Error ExplainUsage(const CLI::App& app, const CLI::ParseError& error);
// "--out FILE" instead of "--out TEXT", for every command below `app`.
void NameOperands(CLI::App& app);

}  // namespace writ::cli
