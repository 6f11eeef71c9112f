#include "writ/backends/job/launch_facts.h"

#include <netinet/in.h>

#include <variant>

#include "writ/backends/linux/process_tree.h"

namespace writ::backends {

CgroupPlan PlanGroups(const Plan& plan, const LaunchedTier& tier, const HostFeatures& features) {
  const Limits limits = tier.OutsideLimits(plan);
  CgroupLimits held;
  if (ProcessesInGroup(limits, features)) held.processes = limits.processes + tier.OwnTasks();
  held.memory_bytes = limits.memory_bytes;
  held.cpu_millis = limits.cpu_millis;
  held.io_bytes_per_second = limits.io_bytes_per_second;
  return PlanCgroups(features.cgroups, plan.run_id, held);
}

std::optional<launch::ProxyTarget> PlanProxy(const Plan& plan, const LaunchedTier& tier) {
  if (!std::holds_alternative<ProxiedNetwork>(plan.network)) return std::nullopt;
  const bool inside = tier.Surroundings() == JobSurroundings::kNamespaces;
  return launch::ProxyTarget{htonl(INADDR_LOOPBACK),
                             inside ? kProxyPortInside : static_cast<std::uint16_t>(0)};
}

LaunchFacts MakeFacts(const Plan& plan, const LaunchedTier& tier, const HostFeatures& features,
                      const CgroupPlan& groups, std::optional<launch::ProxyTarget> proxy,
                      const HeldRoot& root) {
  LaunchFacts facts;
  facts.born_in_cgroup = groups.v2;
  for (const std::string& dir : groups.directories) {
    if (dir != groups.v2) facts.cgroup_dirs.push_back(dir);
  }
  facts.freezer = groups.freezer;
  facts.memory_in_cgroup = !features.cgroups.memory_base.empty();
  facts.processes_in_cgroup = !features.cgroups.pids_base.empty();
  if (!features.root && !facts.processes_in_cgroup)
    facts.tasks_of_user = TasksOfUid(plan.identity.uid);
  facts.proxy = proxy;
  const JobPaths paths = tier.PathsOf(plan);
  facts.workspace = paths.workspace;
  facts.home = paths.home;
  facts.tmp = paths.tmp;
  facts.root_image = root.digest;
  facts.root_view = root.view;
  facts.snapshot = root.snapshot;
  facts.no_snapshot = root.no_snapshot;
  facts.pages_served = root.served;
  facts.machine_held = root.machine != nullptr;
  return facts;
}

}  // namespace writ::backends
