// Ladder: what each isolation tier is on this host - whether jobs can have it, what holds each
// aspect and each limit, and the reason and the mend for every "no". Part of `writ doctor`.
#pragma once

#include <string>
#include <vector>

#include "writ/backends/registry.h"
#include "writ/protocol/json.h"
#include "writ/runner/config.h"

namespace writ::cli {

struct Rung {
  backends::Tier tier = backends::Tier::kProcess;
  std::vector<backends::Capabilities> backends;  // none: this build has no backend for it
  bool is_default = false;                       // of contracts that name none
  bool below_minimum = false;  // contracts that ask for it run in the operator's minimum
  bool usable() const;
};

// One for each tier, the weakest first. Probes.
std::vector<Rung> LookAtLadder(const backends::BackendRegistry& registry,
                               const runner::RunnerConfig& config);

// Pure. For people, terminal-safe, and for programs.
std::string RenderLadder(const std::vector<Rung>& ladder);
json::Value LadderJson(const std::vector<Rung>& ladder);

}  // namespace writ::cli
