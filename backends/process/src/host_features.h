// HostFeatures: what the process tier found out about this host, once; and the words for it.
#pragma once

#include <linux/filter.h>

#include <string>
#include <vector>

#include "writ/backends/capability.h"
#include "writ/backends/linux/cgroup.h"
#include "writ/backends/process_backend.h"
#include "writ/base/result.h"

namespace writ::backends {

struct HostFeatures {
  bool root = false;  // jobs get a uid of their own
  int landlock_abi = 0;
  bool user_notification = false;  // supervised connect works end to end
  std::string no_notification_reason;
  CgroupSupport cgroups;
  std::vector<sock_filter> filter;  // compiled for what is there; empty: seccomp cannot be used
  std::string no_filter_reason;
  std::string launcher_problem;  // empty: it runs
};

// Tries everything; takes some milliseconds. Starts the launcher once in its probe mode.
HostFeatures ProbeHost(const ProcessBackendOptions& options);

// Pure: the same features give the same words.
Capabilities DescribeHost(const HostFeatures& features, const std::string& backend_name);

}  // namespace writ::backends
