// What a LaunchPlan needs beside the Plan and what was probed: decided before anything is made, so
// that a plan can be printed without a job (Backend::PrintPlan).
#pragma once

#include <optional>

#include "writ/backends/job/launched_tier.h"
#include "writ/backends/linux/cgroup.h"

namespace writ::backends {

// The port of the proxy in a network namespace of the job's own.
inline constexpr std::uint16_t kProxyPortInside = 3128;

CgroupPlan PlanGroups(const Plan& plan, const LaunchedTier& tier, const HostFeatures& features);

// Where the job will find its proxy; nullopt: there is none. Port 0: the host's next free one.
std::optional<launch::ProxyTarget> PlanProxy(const Plan& plan, const LaunchedTier& tier);

// Looks at what the uid has running where that counts against the job; else pure.
LaunchFacts MakeFacts(const Plan& plan, const LaunchedTier& tier, const HostFeatures& features,
                      const CgroupPlan& groups, std::optional<launch::ProxyTarget> proxy,
                      const HeldRoot& root);

}  // namespace writ::backends
