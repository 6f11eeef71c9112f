// CheckRunnerFile: what a runner would not be started with, said without starting one.
#pragma once

#include "writ/base/result.h"
#include "writ/runner/config.h"

namespace writ::runner {

// CheckRunnerConfig and where the folders lie (kDenied "runner.private_in_view"), of a complete
// configuration whose plane may still come from a command line. Makes nothing and asks no plane.
Status CheckRunnerFile(const RunnerConfig& config);

}  // namespace writ::runner
