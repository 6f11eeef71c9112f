#include "writ/backends/job/launch_planning.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "writ/backends/job/limit_holders.h"

namespace writ::backends {
namespace {

// Not 0: with that a core_pattern of the host that is a pipe would still get the job's memory,
// secrets included. 1 is the kernel's word for "none, not even to a pipe".
constexpr std::uint64_t kNoCore = 1;

std::vector<launch::ResourceLimit> PlanLimits(const Plan& plan, const HostFeatures& features,
                                              const LaunchFacts& facts) {
  const Limits& limits = plan.limits;
  std::vector<launch::ResourceLimit> out = {{RLIMIT_CORE, kNoCore},
                                            {RLIMIT_NOFILE, limits.open_files}};
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

void PlanSyscalls(const Plan& plan, const HostFeatures& features, launch::LaunchPlan& out) {
  if (std::holds_alternative<AllSyscallsGrant>(plan.syscalls)) {
    out.filter = features.recording_filter;
  } else {
    out.allow_list = std::holds_alternative<BuildSyscalls>(plan.syscalls) ? features.build_list
                                                                          : features.default_list;
    out.filter = features.filter;
  }
  out.supervise_connect = features.user_notification && !out.filter.empty();
}

// L4: who may make every call is held by namespaces, where there are any.
Status CheckSyscalls(const Plan& plan, Tier tier) {
  if (!std::holds_alternative<AllSyscallsGrant>(plan.syscalls)) return {};
  if (tier == Tier::kProcess)
    return Unsupported(tier, "syscalls_hold_the_network",
                       "the syscall profile none is asked for, and in the process tier the list of "
                       "system calls is what keeps a job from the network and from other processes",
                       "ask for the sandbox tier or above, or for the profile build");
  if (plan.require.syscalls != Enforcement::kNone)
    return Unsupported(tier, "enforcement_too_weak",
                       "syscalls must be held by " +
                           std::string(EnforcementName(plan.require.syscalls)) +
                           ", and the syscall profile none holds none",
                       "ask for the profile default or build");
  return {};
}

Status CheckAspect(Aspect aspect, Enforcement wanted, const Capabilities& capabilities) {
  const AspectCapability& have = capabilities.Of(aspect);
  if (have.enforcement >= wanted) return {};
  return Unsupported(capabilities.tier, "enforcement_too_weak",
                     std::string(AspectName(aspect)) + " must be held by " +
                         std::string(EnforcementName(wanted)) + " and is " +
                         std::string(EnforcementName(have.enforcement)) +
                         " on this host: " + have.reason,
                     have.mend);
}

// L4: what the contract limits is held for the job as a whole, or refused.
Status CheckLimits(const Plan& plan, const std::vector<HeldLimit>& holders) {
  for (const HeldLimit& held : holders) {
    if (held.limit.source != LimitSource::kContract) continue;
    if (HeldForTheWholeJob(held)) continue;
    return Unsupported(
        plan.tier, "limit_not_held",
        "the contract limits " + std::string(LimitName(held.limit.kind)) +
            ", which nothing on this host can hold: " + held.note,
        held.mend.empty() ? "leave this limit out, or ask for another tier or runner" : held.mend);
  }
  return {};
}

}  // namespace

Error Unsupported(Tier tier, const std::string& code, std::string message, std::string hint) {
  return Error{ErrorKind::kUnsupported, std::string(TierName(tier)) + "." + code,
               std::move(message), std::move(hint)};
}

launch::LaunchPlan PlanCommon(const Plan& plan, const HostFeatures& features,
                              const LaunchFacts& facts) {
  constexpr std::chrono::milliseconds kLongest = std::chrono::hours(24 * 365);
  launch::LaunchPlan out;
  out.born_in_cgroup = facts.born_in_cgroup;
  out.cgroup_dirs = facts.cgroup_dirs;
  out.freezer = facts.freezer;
  out.limits = PlanLimits(plan, features, facts);
  out.identity = features.root ? launch::IdentityStep::kDrop : launch::IdentityStep::kCheck;
  out.keyring = features.keyrings ? launch::SessionKeyring::kNew : launch::SessionKeyring::kAsItIs;
  out.uid = plan.identity.uid;
  out.gid = plan.identity.gid;
  out.cwd = plan.cwd.empty() ? facts.workspace : facts.workspace + "/" + plan.cwd;
  PlanSyscalls(plan, features, out);
  out.proxy = facts.proxy;
  out.argv = plan.argv;
  out.terminal = plan.terminal;
  out.entries = plan.entries ? launch::Entries::kAccepted : launch::Entries::kRefused;
  out.wall_timeout_ms =
      static_cast<std::uint64_t>(std::min(plan.limits.wall_timeout, kLongest).count());
  out.term_grace_ms =
      static_cast<std::uint64_t>(std::min(plan.limits.term_grace, kLongest).count());
  return out;
}

Status CheckLeastMemory(const Plan& plan, std::uint64_t least_bytes) {
  const std::uint64_t limit = plan.limits.memory_bytes;
  if (limit == 0 || limit >= least_bytes) return {};
  return Unsupported(plan.tier, "memory_too_small",
                     "a job of the " + std::string(TierName(plan.tier)) +
                         " tier cannot start with " + std::to_string(limit >> 20) +
                         " MiB of memory",
                     "give it at least " + std::to_string(least_bytes >> 20) + " MiB");
}

Status CheckCommon(const Plan& plan, const Capabilities& capabilities, const HostFeatures& features,
                   const std::vector<HeldLimit>& held) {
  WRIT_TRY(ValidatePlan(plan));
  const Tier tier = capabilities.tier;
  const std::string name(TierName(tier));
  if (plan.tier != tier)
    return Unsupported(tier, "other_tier",
                       "the plan asks for the tier " + std::string(TierName(plan.tier)));
  if (!capabilities.usable)
    return Unsupported(tier, "unusable", capabilities.unusable_reason, capabilities.unusable_mend);
  if (plan.terminal && !capabilities.pty)
    return Unsupported(tier, "no_pty", "the " + name + " tier gives no terminal");
  if (!plan.image.empty() && tier == Tier::kProcess)
    return Unsupported(tier, "no_image", "the " + name + " tier runs jobs in no image",
                       "ask for the sandbox, container or microvm tier, or for no image");
  WRIT_TRY(CheckSyscalls(plan, tier));
  if (std::holds_alternative<HostNetworkGrant>(plan.network))
    return Unsupported(
        tier, "no_host_network", "the " + name + " tier never opens the host's network",
        "an open contract goes through the proxy, whose rules then allow every host");
  if (!features.root && (plan.identity.uid != ::geteuid() || plan.identity.gid != ::getegid()))
    return Unsupported(tier, "foreign_identity",
                       "a runner that is not root cannot run a job under another uid or gid");
  const Enforcement network =
      plan.require.advisory_network ? Enforcement::kAdvisory : Enforcement::kKernel;
  WRIT_TRY(CheckAspect(Aspect::kNetwork, network, capabilities));
  WRIT_TRY(CheckAspect(Aspect::kFiles, plan.require.files, capabilities));
  WRIT_TRY(CheckAspect(Aspect::kSyscalls, plan.require.syscalls, capabilities));
  WRIT_TRY(CheckAspect(Aspect::kResources, plan.require.resources, capabilities));
  WRIT_TRY(CheckAspect(Aspect::kProcesses, plan.require.processes, capabilities));
  return CheckLimits(plan, held);
}

}  // namespace writ::backends
