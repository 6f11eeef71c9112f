#include "launch_planning.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "limit_holders.h"

namespace writ::backends {
namespace {

// What every program needs to run at all. /etc is readable as it is to any user of the host; keys
// of the host stand behind their own modes there.
const std::vector<LandlockPath>& SystemPaths() {
  static const std::vector<LandlockPath> paths = [] {
    std::vector<LandlockPath> list;
    for (const char* dir : {"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc"})
      list.push_back({dir, PathAccess::kReadExecute, IfMissing::kSkip});
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
  // Pseudo terminals of others are closed by their owner's uid; with our own uid they would not be.
  if (features.root) {
    for (const char* path : {"/dev/ptmx", "/dev/pts"})
      rules.paths.push_back({path, PathAccess::kDevice, IfMissing::kSkip});
  }
  for (const std::string& tree : plan.read_only_trees)
    rules.paths.push_back({tree, PathAccess::kReadExecute, IfMissing::kFail});
  for (const std::string& dir : {facts.workspace, facts.home, facts.tmp})
    rules.paths.push_back({dir, PathAccess::kReadWrite, IfMissing::kFail});
  // With supervision the job itself connects to nothing at all.
  if (!features.user_notification && facts.proxy) rules.connect_port = facts.proxy->port;
  return rules;
}

std::vector<launch::ResourceLimit> PlanLimits(const Plan& plan, const HostFeatures& features,
                                              const LaunchFacts& facts) {
  const Limits& limits = plan.limits;
  std::vector<launch::ResourceLimit> out = {{RLIMIT_CORE, 0}, {RLIMIT_NOFILE, limits.open_files}};
  // The kernel counts by uid: exact for a uid of the job's own, a distance from now for a shared
  // one. It refuses a little above the limit, so that a job which only fills its limit can be told
  // from one that passes it and is ended for it.
  if (features.root)
    out.push_back({RLIMIT_NPROC, limits.processes + kTaskSlack});
  else if (!facts.processes_in_cgroup)
    out.push_back({RLIMIT_NPROC, facts.tasks_of_user + limits.processes + kTaskSlack});
  if (limits.file_bytes != 0) out.push_back({RLIMIT_FSIZE, limits.file_bytes});
  if (limits.address_space_bytes != 0) out.push_back({RLIMIT_AS, limits.address_space_bytes});
  // Data, not address space: runtimes reserve far more than they use.
  if (limits.memory_bytes != 0 && !facts.memory_in_cgroup)
    out.push_back({RLIMIT_DATA, limits.memory_bytes});
  return out;
}

Error Unsupported(std::string code, std::string message, std::string hint = {}) {
  return Error{ErrorKind::kUnsupported, "process." + std::move(code), std::move(message),
               std::move(hint)};
}

Status CheckAspect(Aspect aspect, Enforcement wanted, const Capabilities& capabilities) {
  const AspectCapability& have = capabilities.Of(aspect);
  if (have.enforcement >= wanted) return {};
  return Unsupported("enforcement_too_weak",
                     std::string(AspectName(aspect)) + " must be held by " +
                         std::string(EnforcementName(wanted)) + " and is " +
                         std::string(EnforcementName(have.enforcement)) +
                         " on this host: " + have.reason,
                     have.mend);
}

// L4: what the contract limits is held for the job as a whole, or refused.
Status CheckLimits(const Plan& plan, const HostFeatures& features) {
  for (const HeldLimit& held : HoldLimits(plan.limits, features)) {
    if (held.limit.source != LimitSource::kContract) continue;
    const bool per_process =
        held.limit.kind == LimitKind::kMemory && held.holder == LimitHolder::kRlimit;
    if (held.holder != LimitHolder::kNone && !per_process) continue;
    return Unsupported("limit_not_held",
                       "the contract limits " + std::string(LimitName(held.limit.kind)) +
                           ", which nothing on this host can hold: " + held.note,
                       "run the runner as root, or give its service Delegate=yes");
  }
  return {};
}

}  // namespace

launch::LaunchPlan PlanLaunch(const Plan& plan, const HostFeatures& features,
                              const LaunchFacts& facts, std::vector<std::string> env) {
  constexpr std::chrono::milliseconds kLongest = std::chrono::hours(24 * 365);
  launch::LaunchPlan out;
  out.born_in_cgroup = facts.born_in_cgroup;
  out.cgroup_dirs = facts.cgroup_dirs;
  out.freezer = facts.freezer;
  out.limits = PlanLimits(plan, features, facts);
  out.identity = features.root ? launch::IdentityStep::kDrop : launch::IdentityStep::kCheck;
  out.uid = plan.identity.uid;
  out.gid = plan.identity.gid;
  out.cwd = plan.cwd.empty() ? facts.workspace : facts.workspace + "/" + plan.cwd;
  out.landlock = PlanLandlock(plan, features, facts);
  out.filter = features.filter;
  out.supervise_connect = features.user_notification;
  out.proxy = facts.proxy;
  out.argv = plan.argv;
  out.env = std::move(env);
  out.wall_timeout_ms =
      static_cast<std::uint64_t>(std::min(plan.limits.wall_timeout, kLongest).count());
  out.term_grace_ms =
      static_cast<std::uint64_t>(std::min(plan.limits.term_grace, kLongest).count());
  return out;
}

Status CheckPlan(const Plan& plan, const Capabilities& capabilities, const HostFeatures& features) {
  WRIT_TRY(ValidatePlan(plan));
  if (plan.tier != Tier::kProcess)
    return Unsupported("other_tier",
                       "the plan asks for the tier " + std::string(TierName(plan.tier)));
  if (!capabilities.usable)
    return Unsupported("unusable", capabilities.unusable_reason, capabilities.unusable_mend);
  if (!std::holds_alternative<PlainWorkspace>(plan.workspace))
    return Unsupported("no_overlay",
                       "the process tier mounts nothing; give it a plain workspace directory");
  if (plan.terminal != Terminal::kNone)
    return Unsupported("no_pty", "the process tier gives no terminal");
  if (std::holds_alternative<HostNetworkGrant>(plan.network))
    return Unsupported(
        "no_host_network", "the process tier never opens the host's network",
        "an open contract goes through the proxy, whose rules then allow every host");
  if (!features.root && (plan.identity.uid != ::geteuid() || plan.identity.gid != ::getegid()))
    return Unsupported("foreign_identity",
                       "a runner that is not root cannot run a job under another uid or gid");
  const Enforcement network =
      plan.require.advisory_network ? Enforcement::kAdvisory : Enforcement::kKernel;
  WRIT_TRY(CheckAspect(Aspect::kNetwork, network, capabilities));
  WRIT_TRY(CheckAspect(Aspect::kFiles, plan.require.files, capabilities));
  WRIT_TRY(CheckAspect(Aspect::kSyscalls, plan.require.syscalls, capabilities));
  WRIT_TRY(CheckAspect(Aspect::kResources, plan.require.resources, capabilities));
  WRIT_TRY(CheckAspect(Aspect::kProcesses, plan.require.processes, capabilities));
  return CheckLimits(plan, features);
}

}  // namespace writ::backends
