// UndoStack: what was acquired is given back, in reverse order, whatever happens (L37).
//
// Each step registers its undo in the moment in which it has acquired something. Unwind tries every
// one, even after failures, and returns all that went wrong. What was never acquired is never
// released. An undo is run at most once; a step that gives its thing back early calls Run(token)
// itself. One owner, one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "writ/base/result.h"

namespace writ::runner {

class UndoStack {
 public:
  using Token = std::uint64_t;
  struct Failure {
    std::string what;
    Error error;
  };

  UndoStack() = default;
  ~UndoStack();  // unwinds what is left; failures are logged, there being nobody to return them to
  UndoStack(const UndoStack&) = delete;
  UndoStack& operator=(const UndoStack&) = delete;

  // `what` names the thing in the plural of reports: "egress proxy", "job tree".
  Token Push(std::string what, std::function<Status()> undo);
  // Runs one undo now; nothing where it has run already.
  Status Run(Token token);
  // The thing has a new owner: its undo is dropped unrun.
  void Disarm(Token token);
  // Newest first, each tried; the failures in that order.
  std::vector<Failure> Unwind();
  bool empty() const { return entries_.empty(); }

 private:
  struct Entry {
    Token token;
    std::string what;
    std::function<Status()> undo;
  };
  std::vector<Entry> entries_;
  Token next_ = 1;
};

}  // namespace writ::runner
