// Context: what every command gets - the global options, and the one way to print results and
// errors.
//
// Results go to standard output, notes and progress to standard error. With --json standard output
// carries exactly one JSON value (or JSON lines where the help says so), errors included.
#pragma once

#include <string>
#include <string_view>

#include "exit_code.h"
#include "writ/base/result.h"
#include "writ/protocol/json.h"

namespace writ::cli {

struct Context {
  std::string dir;  // absolute; state, keys and configuration
  bool json = false;
  bool log_json = false;      // what is for people on standard error is a log line too
  std::string self = "writ";  // how this program was called: with --dir where one was given
  int exit_code = kDone;
  std::string run_id;  // of the run that this command made: named in its errors too

  // A command to type next, for hints and receipts: it finds the same directory.
  std::string Command(std::string_view arguments) const;

  void PrintJson(const json::Value& value) const;
  void Print(std::string_view text) const;  // standard output; ignored with --json
  // One line on standard error; a log line with --log-json, ignored with --json.
  void Note(std::string_view text) const;
  // An error that does not end the command, or a run's, as notes are printed: "WHAT: SENTENCE
  // [code]" and its hint on a line of its own.
  void NoteError(std::string_view what, const Error& error) const;
  // Reports the error once and sets the exit code.
  void Fail(const Error& error);
  void Fail(ExitCode code, const Error& error);
};

// Bytes that came from outside, made safe for a terminal: control bytes become \xNN, newlines stay
// where `keep_newlines` says so.
enum class Newlines { kKeep, kEscape };
std::string TerminalSafe(std::string_view text, Newlines newlines = Newlines::kEscape);

}  // namespace writ::cli
