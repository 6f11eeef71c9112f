// Readiness: could a session be started here now? Looked at before each claim (L41) and by `writ
// doctor`. Changes nothing.
#pragma once

#include <vector>

#include "writ/backends/registry.h"
#include "writ/runner/config.h"
#include "writ/runner/engine.h"

namespace writ::runner {

enum class Depth { kBeforeClaim, kWhole };  // kWhole also looks at every agent profile

std::vector<ReadinessProblem> LookAtReadiness(const RunnerConfig& config,
                                              backends::BackendRegistry& registry, int sessions_dir,
                                              Depth depth);

}  // namespace writ::runner
