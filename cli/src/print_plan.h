// What a run on this machine would be, step by step, before it is one (`writ run --print-plan`).
#pragma once

#include <string>

#include "context.h"
#include "writ/protocol/json.h"
#include "writ/protocol/manifest.h"

namespace writ::cli {

struct PlanRequest {
  const json::Value& report;            // the plane's answer to a dry run
  const protocol::Manifest& workspace;  // what was captured
  std::string prompt;
  std::string pool;
};

// As the embedded runner of `context.dir` plans it: nothing is uploaded, claimed, made or started.
// A refusal is reported with its code and hint.
void PrintPlanOfRun(Context& context, const PlanRequest& request);

}  // namespace writ::cli
