// Readiness: could a session be started here now? Looked at before each claim (L41) and by `writ
// doctor`: disk, inodes, memory, the way to the sessions, the egress proxy, a backend that is
// alive, the agents whose paths are configured. Changes nothing.
#pragma once

#include <vector>

#include "writ/backends/registry.h"
#include "writ/runner/config.h"
#include "writ/runner/engine.h"

namespace writ::runner {

enum class Depth { kBeforeClaim, kWhole };  // kWhole also looks for agents that nobody configured

std::vector<ReadinessProblem> LookAtReadiness(const RunnerConfig& config,
                                              backends::BackendRegistry& registry, int sessions_dir,
                                              Depth depth);

}  // namespace writ::runner
