#include "runner_setup.h"

#include <sys/stat.h>
#include <unistd.h>

#include "home.h"
#include "machine_setup.h"
#include "writ/backends/container/container_backend.h"
#include "writ/backends/microvm/microvm_backend.h"
#include "writ/backends/process_backend.h"
#include "writ/backends/registry.h"
#include "writ/backends/sandbox_backend.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/protocol/names.h"

namespace writ::cli {
namespace {

Result<Sources> FindSources(const RunnerSetup& setup) {
  Sources out;
  out.environment = CurrentEnvironment();
  out.file = setup.config_file.empty() ? setup.dir + "/runner.json" : setup.config_file;
  if (setup.config_file.empty() && ::access(out.file.c_str(), F_OK) != 0) {
    out.file.clear();
  } else {
    WRIT_ASSIGN(out.text, ReadFile(out.file, 1 << 20));
  }
  auto flag = [&](const char* name, const char* option, const std::string& value) {
    if (!value.empty()) out.flags.push_back({name, json::Value(value), option});
  };
  flag("pool", "--pool", setup.pool);
  flag("plane.url", "--plane", setup.plane.url);
  flag("plane.keyPem", "--plane-key", setup.plane_key_pem);
  flag("plane.caFile", "--plane-ca", setup.plane.ca_file);
  flag("plane.proxy", "--plane-proxy", setup.plane.proxy);
  flag("plane.clientCertFile", "--client-cert", setup.plane.client_cert_file);
  flag("metrics.listen", "--metrics", setup.metrics_listen);
  flag("plane.clientKeyFile", "--client-key", setup.plane.client_key_file);
  for (const std::string& what : setup.allow_access)
    out.flags.push_back({"grants.session." + what, json::Value(true), "--allow-access"});
  if (setup.slots > 0) out.flags.push_back({"slots", json::Value(setup.slots), "--slots"});
  return out;
}

}  // namespace

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

Result<RunnerSettings> ReadRunnerSettings(const RunnerSetup& setup) {
  WRIT_ASSIGN(Sources sources, FindSources(setup));
  RunnerSettings out;
  out.file = sources.file;
  // By itself first, so that what is wrong in the file is told as its own.
  if (!sources.file.empty()) {
    auto alone = runner::ParseRunnerConfig(sources.text);
    if (!alone)
      return ExplainSettingsError(std::move(alone).error().With("reading " + sources.file),
                                  sources.file);
  }
  WRIT_ASSIGN(Layered layered, LayerSettings(SettingsFile::kRunner, sources));
  if (const json::Value* plane = layered.document.Find("plane");
      plane != nullptr && plane->Find("keyPem") == nullptr)
    return Error{ErrorKind::kInvalid, "runner.no_plane_key",
                 "the public key of the plane is not named, so no contract could be checked",
                 "name it with --plane-key (the plane's keys/plane.pub.pem), or as plane.keyPem in "
                 "runner.json"};
  auto config = runner::ParseRunnerConfig(json::Write(layered.document));
  if (!config)
    return std::move(config).error().With("with the environment and the command line above it");
  out.config = std::move(*config);
  runner::RunnerConfig& c = out.config;
  // What a contract gets that names no tier, unless the operator has said.
  if (layered.document.Find("defaultIsolation") == nullptr) c.default_isolation = "sandbox";
  WRIT_ASSIGN(Programs programs, FindPrograms());
  if (c.state_dir.empty()) {
    const std::string& folder = setup.name.empty() ? c.pool : setup.name;
    if (!protocol::PoolName::Parse(folder) || folder == "." || folder == "..")
      return Error{ErrorKind::kInvalid, "runner.name",
                   "a runner's folder cannot be called " + folder,
                   "a name, and a pool, match [A-Za-z0-9_.:-]{1,128}; . and .. are none"};
    c.state_dir = setup.dir + "/runner/" + folder;
  }
  if (c.work_dir.empty()) c.work_dir = c.state_dir + "/work";
  for (std::string* dir : {&c.state_dir, &c.work_dir})
    if (dir->front() == '/') *dir = RealDir(*dir);  // what is relative is refused later
  c.private_dirs = {setup.dir};
  c.egress_proxy = programs.egress_proxy;
  c.launcher = programs.launch;
  if (c.mock_agent.empty() && ::access(programs.mock_agent.c_str(), X_OK) == 0)
    c.mock_agent = programs.mock_agent;
  if (::geteuid() == 0) {
    out.uid_choice = c.uid_range ? UidChoice::kOperators : UidChoice::kOurs;
    if (setup.seat) c.microvm.pool = {};  // it has one run
    const std::uint32_t needed = runner::UidsNeeded(c);
    if (!c.uid_range) {
      c.uid_range = runner::UidRange{FirstUidFor(c.state_dir), needed};
    } else if (setup.seat) {
      const std::uint64_t skipped = std::uint64_t{*setup.seat} * needed;
      if (skipped + needed > c.uid_range->count)
        return Error{ErrorKind::kInvalid, "runner.uids_short",
                     "uidRange has " + std::to_string(c.uid_range->count) +
                         " uids, too few for another run at the same time",
                     "raise uidRange.count in runner.json"};
      c.uid_range = runner::UidRange{c.uid_range->first + static_cast<uid_t>(skipped), needed};
    }
  }
  WRIT_ASSIGN(json::Value complete, json::Parse(runner::RunnerConfigJson(c)));
  out.effective = Effective(SettingsFile::kRunner, layered, complete);
  return out;
}

Result<RunnerSettings> MakeRunnerSettings(const RunnerSetup& setup) {
  WRIT_ASSIGN(RunnerSettings out, ReadRunnerSettings(setup));
  if (out.config.plane.url.empty())
    return Error{ErrorKind::kInvalid, "runner.no_plane", "this runner has no plane to serve",
                 "name it with --plane and --plane-key, or as plane in runner.json"};
  if (Status checked = runner::CheckRunnerConfig(out.config); !checked)
    return ExplainSettingsError(std::move(checked).error(),
                                out.file.empty() ? "what is set" : out.file);
  WRIT_TRY(MakePassable(setup.dir));
  WRIT_TRY(MakePassable(setup.dir + "/runner"));
  if (out.config.state_dir.starts_with(setup.dir + "/runner/"))
    WRIT_TRY(MakePassable(out.config.state_dir));
  return out;
}

Result<UidReservation> ReserveUids(RunnerSettings& settings) {
  runner::RunnerConfig& config = settings.config;
  if (::geteuid() != 0 || !config.uid_range) return UidReservation{};
  UidRequest request;
  request.state_dir = config.state_dir;
  request.work_dir = config.work_dir;
  request.range = *config.uid_range;
  request.choice = settings.uid_choice;
  WRIT_ASSIGN(UidReservation out, ReserveUids(request));
  config.uid_range = out.range;
  return out;
}

Status RegisterBackends(backends::BackendRegistry& registry, const std::string& dir,
                        const runner::RunnerConfig& config, backends::LaunchedOptions::Ahead ahead,
                        const std::string& steps_dir) {
  WRIT_ASSIGN(Programs programs, FindPrograms());
  backends::LaunchedOptions launched;
  launched.launcher = programs.launch;
  launched.ahead = ahead;
  WRIT_TRY(registry.Add(backends::MakeProcessBackend(launched)));
  const std::string images = dir + "/images";
  WRIT_TRY(registry.Add(backends::MakeSandboxBackend(
      {.launched = launched, .images_dir = images, .default_image = config.sandbox_image})));
  backends::ContainerBackendOptions options;
  options.launched = std::move(launched);
  options.runtime = config.container.runtime;
  options.images_dir = images;
  options.default_image = config.container.image;
  backends::MicrovmBackendOptions machines = MachineOptions(programs, dir, config);
  machines.launched = options.launched;
  // Who runs one job has nothing to wait with.
  if (ahead == backends::LaunchedOptions::Ahead::kOne && config.microvm.pool.clones > 0) {
    const runner::RunnerConfig::MachinePool& pool = config.microvm.pool;
    machines.pool.count = pool.clones;
    machines.pool.memory_bytes = pool.memory_bytes;
    machines.pool.max_age = pool.max_age;
    machines.pool.dir = config.state_dir + "/pool";
    WRIT_TRY(MakePassable(machines.pool.dir));
    if (::geteuid() == 0 && config.uid_range) {
      machines.pool.helper_uid = config.uid_range->first + config.slots;
      machines.pool.first_uid = config.uid_range->first + config.slots + 1;
      machines.pool.uids = runner::PoolUidsOf(config);
    }
  }
  if (!steps_dir.empty()) {
    machines.images_dir = steps_dir;
    machines.jobs = backends::MicrovmBackendOptions::Jobs::kSteps;
  }
  WRIT_TRY(registry.Add(backends::MakeContainerBackend(std::move(options))));
  return registry.Add(backends::MakeMicrovmBackend(std::move(machines)));
}

}  // namespace writ::cli
