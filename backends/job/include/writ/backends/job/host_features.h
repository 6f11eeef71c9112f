// HostFeatures: what a launched tier found out about this host, once; and the words for it that the
// tiers share.
#pragma once

#include <linux/filter.h>

#include <memory>
#include <string>
#include <vector>

#include "writ/backends/capability.h"
#include "writ/backends/job/launched_options.h"
#include "writ/backends/launch/view_step.h"
#include "writ/backends/linux/cgroup.h"
#include "writ/backends/linux/job_filter.h"
#include "writ/base/result.h"

namespace writ::backends {

// What of namespaces can be had here (`writ-launch --probe-namespaces`).
struct NamespaceFeatures {
  bool usable = false;
  std::string reason;  // why not
  std::string mend;
  bool time = false;
  bool overlay = false;
  std::string no_overlay_reason;
};

// The OCI runtime of the container tier.
struct RuntimeFeatures {
  std::string path;     // absolute, no symbolic link; empty: none was found
  std::string name;     // "crun", "runc", "runsc"
  std::string version;  // as it says itself
  bool usable = false;  // a container was made
  std::string reason;   // why not
  std::string mend;
};

// The monitor of the microvm tier.
struct MachineFeatures {
  std::string monitor;  // "qemu", ...
  std::string path;
  std::string version;
  bool usable = false;
  std::string reason;  // why not
  std::string mend;
  bool kvm = false;  // guest code runs on the processor; else it is emulated
  std::string no_kvm_reason;
};

struct HostFeatures {
  bool root = false;  // jobs get a uid of their own
  int landlock_abi = 0;
  bool user_notification = false;  // supervised connect works end to end
  std::string no_notification_reason;
  bool terminals = false;  // jobs can have pseudo terminals
  CgroupSupport cgroups;
  // Compiled for what is there; empty: seccomp cannot be used.
  std::vector<sock_filter> filter;
  std::vector<sock_filter> default_list;      // of system calls
  std::vector<sock_filter> build_list;        // the wider one
  std::vector<sock_filter> recording_filter;  // for who may make every call; empty: nothing records
  std::string no_filter_reason;
  bool keyrings = false;
  std::string launcher_problem;  // empty: it runs
  NamespaceFeatures namespaces;
  RuntimeFeatures runtime;
  MachineFeatures machine;
  std::vector<launch::ViewStep> system_view;        // what a view of a job's own shows of the host
  std::vector<launch::ViewStep> surroundings_view;  // the part of it that goes with an image
};

// What one look at the host has found, for the jobs that are prepared from then on.
struct HostFound {
  std::shared_ptr<const HostFeatures> features;
  const Capabilities* capabilities = nullptr;  // described from them; the backend's
};

// Tries what every launched tier needs; takes some milliseconds. Starts the launcher once in its
// probe mode. `surroundings`: what the filter is compiled for.
HostFeatures ProbeHost(const LaunchedOptions& options, JobSurroundings surroundings);
// Makes the three filters for the notifications that `features` has. All of them, or none and the
// reason: a job never has fewer guards than its profile says (L4).
void CompileFilters(JobSurroundings surroundings, HostFeatures& features);
// Runs `writ-launch ARGUMENTS` and reads its answer; empty, and `problem` says why: it gave none.
std::string AskLauncher(const std::string& launcher, const std::vector<std::string>& arguments,
                        std::string& problem);

// Whether the tier can be used at all, and its version, as far as all launched tiers ask the same.
Capabilities DescribeLauncher(const HostFeatures& features, Tier tier, const std::string& name);
AspectCapability DescribeResources(const HostFeatures& features);
AspectCapability DescribeSyscalls(const HostFeatures& features);

}  // namespace writ::backends
