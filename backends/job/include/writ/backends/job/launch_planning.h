// From Plan and HostFeatures to LaunchPlan: the decisions that all launched tiers share, without
// doing anything.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "writ/backends/job/host_features.h"
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
  std::string workspace;  // absolute, as the job sees it
  std::string home;
  std::string tmp;
  std::string root_image;                   // HeldRoot::digest
  std::vector<launch::ViewStep> root_view;  // HeldRoot::view
  std::string snapshot;                     // HeldRoot::snapshot
  std::string no_snapshot;                  // HeldRoot::no_snapshot
  bool pages_served = false;                // HeldRoot::served
  bool machine_held = false;                // HeldRoot::machine
};

// Groups, limits, identity, working directory, program and times; files, network and system calls
// are the tier's.
launch::LaunchPlan PlanCommon(const Plan& plan, const HostFeatures& features,
                              const LaunchFacts& facts);

// Whether a tier with these capabilities meets the plan, as far as all tiers ask the same.
// `held`: what holds each limit of the plan there.
Status CheckCommon(const Plan& plan, const Capabilities& capabilities, const HostFeatures& features,
                   const std::vector<HeldLimit>& held);

// A limit that nothing could start below is refused, not run into.
Status CheckLeastMemory(const Plan& plan, std::uint64_t least_bytes);

Error Unsupported(Tier tier, const std::string& code, std::string message, std::string hint = {});

}  // namespace writ::backends
