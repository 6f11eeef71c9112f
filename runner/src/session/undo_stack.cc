#include "writ/runner/undo_stack.h"

#include <algorithm>
#include <utility>

#include "writ/base/log.h"

namespace writ::runner {

UndoStack::~UndoStack() {
  for (const Failure& failure : Unwind())
    log::Error("runner.undo_failed", "could not give back " + failure.what,
               {{"error", failure.error.ToString()}});
}

UndoStack::Token UndoStack::Push(std::string what, std::function<Status()> undo) {
  entries_.push_back({next_, std::move(what), std::move(undo)});
  return next_++;
}

Status UndoStack::Run(Token token) {
  auto at = std::find_if(entries_.begin(), entries_.end(),
                         [&](const Entry& e) { return e.token == token; });
  if (at == entries_.end()) return {};
  std::function<Status()> undo = std::move(at->undo);
  entries_.erase(at);
  return undo();
}

void UndoStack::Disarm(Token token) {
  std::erase_if(entries_, [&](const Entry& e) { return e.token == token; });
}

std::vector<UndoStack::Failure> UndoStack::Unwind() {
  std::vector<Failure> failures;
  while (!entries_.empty()) {
    Entry entry = std::move(entries_.back());
    entries_.pop_back();
    if (Status done = entry.undo(); !done)
      failures.push_back({std::move(entry.what), std::move(done).error()});
  }
  return failures;
}

}  // namespace writ::runner
