// From a few words to a whole RunnerConfig, and the one list of backends.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "settings.h"
#include "uid_reservation.h"
#include "writ/backends/job/launched_options.h"
#include "writ/base/result.h"
#include "writ/runner/config.h"

namespace writ::backends {
class BackendRegistry;
}

namespace writ::cli {

// What was given on the command line; empty and 0 leave it to the environment, the file and the
// defaults.
struct RunnerSetup {
  std::string dir;
  std::string name;  // its folder below <dir>/runner; empty: the pool's name
  std::string pool;
  std::string config_file;  // the operator's; empty: <dir>/runner.json where there is one
  runner::HttpEndpoint plane;
  std::string plane_key_pem;
  std::string metrics_listen;
  std::vector<std::string> allow_access;  // members of grants.session to switch on
  unsigned slots = 0;
  // The how manieth of several runners that share the directory's configuration; each takes a part
  // of the operator's uidRange. nullopt: the whole of it.
  std::optional<unsigned> seat;
};

struct RunnerSettings {
  runner::RunnerConfig config;  // complete and checked
  std::vector<Setting> effective;
  UidChoice uid_choice = UidChoice::kOurs;
  std::string file;  // that was read; empty: there is none
};

// What is set and what follows from it, without making or asking anything. `config` is complete but
// not checked: `writ config show` tells it also where a plane is still missing.
Result<RunnerSettings> ReadRunnerSettings(const RunnerSetup& setup);
// The same, checked. Makes the state and work folders with the modes that job uids need to reach
// their own session and nothing else.
Result<RunnerSettings> MakeRunnerSettings(const RunnerSetup& setup);

// Takes the runner's uids for as long as the reservation lives, and puts them into the
// configuration. Nothing for an ordinary user, whose jobs have the runner's own.
Result<UidReservation> ReserveUids(RunnerSettings& settings);

// Makes a folder on the way to a session, which must let job uids pass (x) but not look (r).
Status MakePassable(const std::string& path);

// The one place that names concrete backends.
// `dir`: where the images are (`dir`/images). `ahead`: kOne for a runner that serves, kNone for one
// run. `steps_dir`: not empty for a runner of recipes' steps, whose guest images are there.
Status RegisterBackends(backends::BackendRegistry& registry, const std::string& dir,
                        const runner::RunnerConfig& config, backends::LaunchedOptions::Ahead ahead,
                        const std::string& steps_dir = {});

}  // namespace writ::cli
