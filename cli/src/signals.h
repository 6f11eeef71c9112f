// Stopping and reloading a long-running command by signal.
#pragma once

#include <functional>
#include <stop_token>

#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::cli {

// Made before any thread is: blocks SIGTERM, SIGINT, SIGQUIT and SIGHUP in this thread and all
// later ones, and gives them out one at a time.
class StopSignals {
 public:
  static Result<StopSignals> Block();
  // Waits for the next one, at most `timeout_ms` (-1: for ever), and no longer than until
  // `other_fd` (-1: none) is readable. 0 where no signal came.
  int Wait(int timeout_ms, int other_fd = -1);

 private:
  explicit StopSignals(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;  // signalfd
};

// Calls `work` with a token that the first stopping signal fires (SIGHUP is not one); nobody else
// waits for `signals` meanwhile.
Status UntilStopped(StopSignals& signals, const std::function<void(std::stop_token)>& work);

}  // namespace writ::cli
