#include "process_tier.h"

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "writ/backends/job/launched_backend.h"
#include "writ/backends/job/private_dirs.h"
#include "writ/backends/linux/system_roots.h"

namespace writ::backends {
namespace {

constexpr int kAbiWithSignalScope = 6;
constexpr int kAbiWithTruncate = 3;

AspectCapability FilesCapability(const HostFeatures& f) {
  AspectCapability files;
  if (f.landlock_abi == 0) {
    files.enforcement = f.root ? Enforcement::kAdvisory : Enforcement::kNone;
    files.mechanism = f.root ? "uid of its own" : "";
    files.reason = "the kernel has no Landlock: every file that the uid may read can be read";
    files.mend = "boot a kernel with CONFIG_SECURITY_LANDLOCK and landlock in lsm= (5.13 or newer)";
    return files;
  }
  files.enforcement = Enforcement::kKernel;
  files.mechanism =
      "landlock abi " + std::to_string(f.landlock_abi) + (f.root ? ", uid of its own" : "");
  if (f.landlock_abi < kAbiWithTruncate) {
    files.enforcement = Enforcement::kAdvisory;
    files.reason = "this Landlock does not govern truncate(2)";
    files.mend = "Linux 6.2 or newer";
  } else if (!f.root) {
    files.reason =
        "mode, times and attributes of the runner's own files can be changed (not their content)";
    files.mend = "run the runner as root with a range of job uids, or use a higher tier";
  }
  return files;
}

AspectCapability NetworkCapability(const HostFeatures& f) {
  AspectCapability network;
  if (f.user_notification) {
    network.enforcement = Enforcement::kKernel;
    network.mechanism = "seccomp user notification, connected by the supervisor";
    return network;
  }
  network.enforcement = Enforcement::kAdvisory;
  network.mechanism =
      f.landlock_abi >= 4 ? "seccomp socket rules, landlock tcp ports" : "seccomp socket rules";
  network.reason = "connections cannot be supervised: " + f.no_notification_reason;
  network.mend =
      "Linux 5.9 or newer with seccomp user notification and pidfd_getfd, or a higher tier";
  return network;
}

AspectCapability ProcessesCapability(const HostFeatures& f) {
  AspectCapability processes;
  processes.enforcement = Enforcement::kKernel;
  const bool scoped = f.landlock_abi >= kAbiWithSignalScope;
  processes.mechanism =
      std::string("subreaper") + (f.cgroups.kill_base.empty() ? "" : ", cgroup.kill") +
      (f.root ? ", uid of its own" : "") + (scoped ? ", landlock signal scope" : "");
  if (!f.root && !scoped) {
    processes.enforcement = Enforcement::kAdvisory;
    processes.reason = "the job has the runner's uid and could signal its processes";
    processes.mend =
        "Linux 6.12 or newer (Landlock ABI 6), or run the runner as root with a range of job uids";
  }
  return processes;
}

// What every program needs to run at all. /etc is readable as it is to any user of the host; keys
// of the host stand behind their own modes there.
const std::vector<LandlockPath>& SystemPaths() {
  static const std::vector<LandlockPath> paths = [] {
    std::vector<LandlockPath> list;
    for (std::string_view name : kProgramRoots)
      list.push_back({"/" + std::string(name), PathAccess::kReadExecute, IfMissing::kSkip});
    list.push_back({"/" + std::string(kSettingsRoot), PathAccess::kReadExecute, IfMissing::kSkip});
    for (const char* dir : {"/proc", "/sys/devices/system", "/sys/fs/cgroup", "/sys/kernel/mm"})
      list.push_back({dir, PathAccess::kRead, IfMissing::kSkip});
    for (const char* device :
         {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"})
      list.push_back({device, PathAccess::kDevice, IfMissing::kSkip});
    return list;
  }();
  return paths;
}

LandlockRules PlanLandlock(const Plan& plan, const HostFeatures& features,
                           const LaunchFacts& facts) {
  LandlockRules rules;
  rules.abi = features.landlock_abi;
  if (rules.abi == 0) return rules;
  rules.paths = SystemPaths();
  // No pseudo terminals but the one that the job may have been given, whose descriptor it holds:
  // there is one devpts, and a job could take all that the host has.
  for (const std::string& tree : plan.read_only_trees)
    rules.paths.push_back({tree, PathAccess::kReadExecute, IfMissing::kFail});
  for (const std::string& dir : {facts.workspace, facts.home, facts.tmp})
    rules.paths.push_back({dir, PathAccess::kReadWrite, IfMissing::kFail});
  // With supervision the job itself connects to nothing at all.
  if (!features.user_notification && facts.proxy) rules.connect_port = facts.proxy->port;
  return rules;
}

}  // namespace

HostFeatures ProcessTier::Probe() const {
  return ProbeHost(options_, JobSurroundings::kTheHosts);
}

Capabilities ProcessTier::Describe(const HostFeatures& f) const {
  Capabilities c = DescribeLauncher(f, Tier::kProcess, std::string(Name()));
  c.files = FilesCapability(f);
  c.network = NetworkCapability(f);
  c.syscalls = DescribeSyscalls(f);
  c.resources = DescribeResources(f);
  c.processes = ProcessesCapability(f);
  c.no_overlay_reason = "the process tier mounts nothing";
  c.notes = {
      "the names and command lines of host processes can be read in /proc",
      "the job's uid has no passwd entry: that needs a mount namespace (sandbox)",
      "/dev/shm, System V IPC and message queues are refused: they would outlive the job",
      "no port can be listened on; only the session's proxy can be connected to",
  };
  return c;
}

Status ProcessTier::CheckPlan(const Plan& plan, const HostFeatures&) const {
  if (!std::holds_alternative<PlainWorkspace>(plan.workspace))
    return Unsupported(Tier::kProcess, "no_overlay",
                       "the process tier mounts nothing; give it a plain workspace directory");
  return {};
}

JobPaths ProcessTier::PathsOf(const Plan& plan) const {
  return {std::get<PlainWorkspace>(plan.workspace).dir, plan.session_dir + "/" + kHomeName,
          plan.session_dir + "/" + kTmpName};
}

launch::LaunchPlan ProcessTier::PlanLaunch(const Plan& plan, const HostFeatures& features,
                                           const LaunchFacts& facts) const {
  launch::LaunchPlan out = PlanCommon(plan, features, facts);
  out.landlock = PlanLandlock(plan, features, facts);
  return out;
}

std::unique_ptr<Backend> MakeProcessBackend(ProcessBackendOptions options) {
  auto tier = std::make_unique<ProcessTier>(options);
  return MakeLaunchedBackend(std::move(tier), std::move(options));
}

}  // namespace writ::backends
