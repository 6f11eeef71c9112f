// TellRunEnd: what is printed when a watched run has ended, and the exit code that it means.
#pragma once

#include <chrono>

#include "context.h"
#include "live_output.h"
#include "watch.h"

namespace writ::cli {

struct RunEndFacts {
  LiveOutput::End output;
  std::chrono::milliseconds plane_away;  // in all, while it was watched
  const NextSteps& next;
};

// Once per run: its state and failure, whether the output above is all of it, and what leads on.
int TellRunEnd(Context& context, const plane::RunDetail& detail, const RunEndFacts& facts);

}  // namespace writ::cli
