// What of a changed configuration a runner at work takes over.
#pragma once

#include <string>
#include <vector>

#include "writ/runner/config.h"

namespace writ::runner {

struct Merged {
  RunnerConfig config;
  std::vector<std::string> applied;  // members of runner.json that differed
  std::vector<std::string> kept;     // the same, of those that need a restart
};

// `before` with what can be changed of `next` while a runner works. Whatever is in no file - what
// only the caller of the first start knew - stays as it was.
Result<Merged> MergeReload(const RunnerConfig& before, const RunnerConfig& next);

}  // namespace writ::runner
