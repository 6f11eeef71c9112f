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

// `embedded`, where not null, is the runner in this process: its troubles end the watching too.
// Ctrl-C once asks the plane to cancel the run, twice leaves. Returns the exit code of the run;
// with --json prints {"runId","status",...} once at the end.
ExitCode WatchRun(Context& context, Requester& requester, const std::string& run_id,
                  Embedded* embedded, const NextSteps& next = {});

}  // namespace writ::cli
