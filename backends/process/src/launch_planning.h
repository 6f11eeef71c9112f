// From Plan and HostFeatures to LaunchPlan: the decisions of the process tier, without doing
// anything.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "host_features.h"
#include "writ/backends/launch/launch_plan.h"
#include "writ/backends/plan.h"

namespace writ::backends {

struct LaunchFacts {
  std::string born_in_cgroup;
  std::vector<std::string> cgroup_dirs;  // the others
  std::string freezer;                   // one of them
  bool memory_in_cgroup = false;
  bool processes_in_cgroup = false;
  std::uint64_t tasks_of_user =
      0;  // running already under the job's uid (an ordinary user's runner)
  std::optional<launch::ProxyTarget> proxy;
  std::string workspace;  // absolute
  std::string home;
  std::string tmp;
};

// `env` is taken over as it is.
launch::LaunchPlan PlanLaunch(const Plan& plan, const HostFeatures& features,
                              const LaunchFacts& facts, std::vector<std::string> env);

// Whether the process tier on this host meets the plan (Backend::Check).
Status CheckPlan(const Plan& plan, const Capabilities& capabilities, const HostFeatures& features);

}  // namespace writ::backends
