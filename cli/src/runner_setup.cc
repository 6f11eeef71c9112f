#include "runner_setup.h"

#include <sys/stat.h>
#include <unistd.h>

#include "home.h"
#include "writ/backends/process_backend.h"
#include "writ/backends/registry.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::cli {
namespace {

// Host uids that a root runner's jobs get where the operator names no range: far above people,
// services and the usual sub-uid ranges.
constexpr uid_t kDefaultFirstUid = 2'000'000'000;

Result<runner::RunnerConfig> ReadOperatorConfig(const RunnerSetup& setup) {
  std::string path = setup.config_file;
  if (path.empty()) {
    path = setup.dir + "/runner.json";
    if (::access(path.c_str(), F_OK) != 0) return runner::RunnerConfig{};
  }
  WRIT_ASSIGN(std::string text, ReadFile(path, 1 << 20));
  auto config = runner::ParseRunnerConfig(text);
  if (!config) return std::move(config).error().With("reading " + path);
  return config;
}

// Folders on the way to a session must let job uids pass (x) but not look (r).
Status MakePassable(const std::string& path) {
  WRIT_ASSIGN(UniqueFd dir, MakeDirectories(path, 0711));
  struct stat st {};
  if (::fstat(dir.get(), &st) != 0)
    return SysError(errno, "cli.stat_failed", "cannot stat " + path);
  if (::geteuid() == 0 && (st.st_mode & 0011) != 0011 &&
      ::fchmod(dir.get(), (st.st_mode & 07777) | 0011) != 0)
    return SysError(errno, "cli.chmod_failed", "cannot let job uids pass through " + path);
  return {};
}

}  // namespace

Result<runner::RunnerConfig> MakeRunnerConfig(const RunnerSetup& setup) {
  WRIT_ASSIGN(runner::RunnerConfig config, ReadOperatorConfig(setup));
  WRIT_ASSIGN(Programs programs, FindPrograms());
  std::string base = setup.dir + "/runner";
  WRIT_TRY(MakePassable(setup.dir));
  WRIT_TRY(MakePassable(base));
  WRIT_TRY(MakePassable(base + "/" + setup.name));
  if (config.state_dir.empty()) config.state_dir = base + "/" + setup.name;
  if (config.work_dir.empty()) config.work_dir = config.state_dir + "/work";
  if (!setup.plane.url.empty()) config.plane = setup.plane;
  if (!setup.plane_key_pem.empty()) config.plane_key_pem = setup.plane_key_pem;
  if (!setup.pool.empty()) config.pool = setup.pool;
  config.slots = std::max(1U, setup.slots);
  config.egress_proxy = programs.egress_proxy;
  if (config.mock_agent.empty() && ::access(programs.mock_agent.c_str(), X_OK) == 0)
    config.mock_agent = programs.mock_agent;
  if (::geteuid() == 0) {
    if (!config.uid_range) config.uid_range = runner::UidRange{kDefaultFirstUid, 0};
    config.uid_range->first += setup.uid_offset;
    config.uid_range->count = std::max(config.uid_range->count, config.slots + 1);
  }
  WRIT_TRY(runner::CheckRunnerConfig(config));
  return config;
}

Status RegisterBackends(backends::BackendRegistry& registry) {
  WRIT_ASSIGN(Programs programs, FindPrograms());
  backends::ProcessBackendOptions process;
  process.launcher = programs.launch;
  return registry.Add(backends::MakeProcessBackend(std::move(process)));
}

}  // namespace writ::cli
