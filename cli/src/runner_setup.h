// From a few words to a whole RunnerConfig, and the one list of backends.
#pragma once

#include <string>

#include "writ/base/result.h"
#include "writ/runner/config.h"

namespace writ::backends {
class BackendRegistry;
}

namespace writ::cli {

struct RunnerSetup {
  std::string dir;
  std::string name;  // its folder below <dir>/runner
  std::string pool;
  std::string config_file;  // the operator's; empty: <dir>/runner.json where there is one
  runner::HttpEndpoint plane;
  std::string plane_key_pem;
  unsigned slots = 1;
  unsigned uid_offset = 0;  // keeps the uids of several runners of one directory apart
};

// The operator's file, then what was given here. Makes the state and work folders with the modes
// that job uids need to reach their own session and nothing else.
Result<runner::RunnerConfig> MakeRunnerConfig(const RunnerSetup& setup);

// The one place that names concrete backends.
Status RegisterBackends(backends::BackendRegistry& registry);

}  // namespace writ::cli
