// WatchRun: follows a run to its end, printing its output as it happens, and tells the exit code.
#pragma once

#include <string>

#include "context.h"
#include "requester.h"

namespace writ::cli {

class Embedded;

// What is printed when the run has ended: the commands that lead on from it.
struct NextSteps {
  std::string access;      // Access::Arguments of the plane
  std::string repository;  // where `writ pull` should go; empty: where the reader is
};

// What Ctrl-C, SIGTERM and a closed terminal mean: the end of the run (whoever asked for it), or of
// the watching alone. A run that the runner in this process has taken is cancelled either way: it
// ends with the process.
enum class OnInterrupt { kCancelRun, kLeaveRun };

// `embedded`, where not null, is the runner in this process: its troubles end the watching too. A
// second signal leaves at once. Returns the exit code of the run, or 128 and the signal's number
// where it was left; with --json prints {"runId","status",...} once at the end.
int WatchRun(Context& context, Requester& requester, const std::string& run_id, Embedded* embedded,
             OnInterrupt on_interrupt, const NextSteps& next);

}  // namespace writ::cli
