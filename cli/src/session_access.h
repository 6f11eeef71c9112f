// SessionAccess: the caller's end of the way into a running session: finds the runner that has it,
// and carries bytes between this program's descriptors and the session.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "writ/base/result.h"
#include "writ/base/terminal_size.h"
#include "writ/protocol/json.h"
#include "writ/runner/access.h"

namespace writ::cli {

struct Context;

struct SessionAnswer {
  runner::AccessChannel channel;
  json::Value taken;  // what the runner said to the request
};
// Asks the runner `name` of this directory; where that is empty all that are at work here, until
// one has the run: those of `writ run`, too.
Result<SessionAnswer> AskForSession(const Context& context, const std::string& name,
                                    const runner::AccessRequest& request);

// What is done with the bytes both ways, until the session says how it ended.
struct SessionStreams {
  // SIGINT, SIGTERM, SIGHUP and SIGQUIT of this process: as always, passed on to the session, or
  // the end of this like the leave keys.
  enum class Signals { kAsAlways, kPassOn, kLeave };
  int input = -1;               // to be read and sent; -1: none
  std::string_view leave_keys;  // of `input`: typed in a row they end this; empty: none
  bool resizes = false;         // SIGWINCH of this terminal is passed on
  Signals signals = Signals::kAsAlways;
  std::function<Status(std::string_view)> output, errors;
};
struct SessionEnding {
  bool left = false;  // by the leave keys or a signal
  json::Value done;   // else what the runner said
};
// Signals that are not as always are blocked from here on.
Result<SessionEnding> CarryStreams(runner::AccessChannel& channel, const SessionStreams& streams,
                                   std::optional<std::chrono::milliseconds> limit);

// Of the terminal at `fd`; nullopt where it is none.
std::optional<TerminalSize> SizeOfTerminal(int fd);

// Keys go to the session as they are typed, for as long as this lives.
class RawTerminal {
 public:
  explicit RawTerminal(int fd);
  ~RawTerminal();
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

 private:
  struct Saved;
  std::unique_ptr<Saved> saved_;
};

// "ctrl-p,ctrl-q" as bytes; kInvalid "cli.bad_keys".
Result<std::string> ParseKeys(std::string_view text);

}  // namespace writ::cli
