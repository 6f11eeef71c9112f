#include "host_features.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "writ/backends/linux/job_filter.h"
#include "writ/backends/linux/landlock.h"
#include "writ/base/child.h"
#include "writ/base/file.h"

namespace writ::backends {
namespace {

constexpr std::chrono::seconds kProbeBound{20};
constexpr std::uint64_t kProbeOutputLimit = 64 * 1024;
constexpr int kAbiWithSignalScope = 6;
constexpr int kAbiWithTruncate = 3;

void ProbeLauncher(const ProcessBackendOptions& options, HostFeatures& features) {
  auto pipe = MakePipe();
  if (!pipe) {
    features.launcher_problem = pipe.error().message;
    return;
  }
  SpawnOptions spawn;
  spawn.path = options.launcher;
  spawn.argv = {"writ-launch", "--probe"};
  spawn.fds = {{pipe->write_end.get(), 1}};
  auto child = Child::Spawn(spawn);
  if (!child) {
    features.launcher_problem = child.error().message;
    return;
  }
  pipe->write_end.reset();
  // The probe bounds itself; its end closes the pipe. Destroying the child kills what does not end.
  auto status = child->Wait(kProbeBound);
  if (!status || !*status || (*status)->ShellCode() != 0) {
    features.launcher_problem = "the launcher's probe did not end well";
    return;
  }
  auto text = ReadAll(pipe->read_end.get(), kProbeOutputLimit);
  const std::string answer = text ? *text : std::string();
  const std::string yes = "user_notification=yes\n";
  const std::string no = "user_notification=no ";
  if (answer == yes) {
    features.user_notification = true;
  } else if (answer.rfind(no, 0) == 0) {
    features.no_notification_reason = answer.substr(no.size(), answer.size() - no.size() - 1);
  } else {
    features.launcher_problem = "the launcher's probe gave no answer";
  }
}

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

AspectCapability ResourcesCapability(const HostFeatures& f) {
  AspectCapability resources;
  const std::string processes = f.cgroups.pids_is_v2 ? "cgroup v2 pids"
                                : f.root             ? "process limit of the job's own uid"
                                : !f.cgroups.pids_base.empty() ? "cgroup v1 pids"
                                                               : "";
  if (!processes.empty() && !f.cgroups.memory_base.empty()) {
    resources.enforcement = Enforcement::kKernel;
    resources.mechanism = std::string("cgroup ") + (f.cgroups.memory_is_v2 ? "v2" : "v1") +
                          " memory, " + processes + ", rlimits";
    return resources;
  }
  resources.enforcement = Enforcement::kAdvisory;
  resources.mechanism = processes.empty() ? "rlimits" : processes + ", rlimits";
  resources.reason = "memory is limited per process, not for the whole job: " + f.cgroups.reason;
  resources.mend = "run the runner as root, or give its service Delegate=yes";
  return resources;
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

}  // namespace

HostFeatures ProbeHost(const ProcessBackendOptions& options) {
  HostFeatures features;
  features.root = ::geteuid() == 0;
  features.landlock_abi = std::min(LandlockAbi(), options.assume_landlock_abi.value_or(1 << 20));
  ProbeLauncher(options, features);
  if (options.user_notification == ProcessBackendOptions::UserNotification::kAssumeAbsent) {
    features.user_notification = false;
    features.no_notification_reason = "assumed absent";
  }
  if (options.cgroups != ProcessBackendOptions::Cgroups::kAssumeAbsent)
    features.cgroups = ProbeCgroups(options.cgroups == ProcessBackendOptions::Cgroups::kAsProbed
                                        ? CgroupGenerations::kBoth
                                        : CgroupGenerations::kOnlyV1);
  else
    features.cgroups.reason = "assumed absent";
  auto filter = CompileJobFilter(features.user_notification ? ConnectRule::kSupervised
                                                            : ConnectRule::kAllowed);
  if (filter)
    features.filter = std::move(filter).value();
  else
    features.no_filter_reason = filter.error().message;
  return features;
}

Capabilities DescribeHost(const HostFeatures& f, const std::string& backend_name) {
  Capabilities c;
  c.tier = Tier::kProcess;
  c.backend = backend_name;
  utsname host{};
  ::uname(&host);
  c.version = "writ " WRIT_VERSION ", linux " + std::string(host.release);
  c.usable = f.launcher_problem.empty() && !f.filter.empty();
  if (!f.launcher_problem.empty()) {
    c.unusable_reason = "writ-launch cannot be used: " + f.launcher_problem;
    c.unusable_mend = "install writ-launch beside writ, or name it in the configuration";
  } else if (f.filter.empty()) {
    c.unusable_reason = "the system call filter cannot be made: " + f.no_filter_reason;
    c.unusable_mend =
        "a kernel with CONFIG_SECCOMP_FILTER on an architecture that libseccomp knows";
  }
  c.files = FilesCapability(f);
  c.network = NetworkCapability(f);
  c.syscalls.enforcement = f.filter.empty() ? Enforcement::kNone : Enforcement::kKernel;
  c.syscalls.mechanism = f.filter.empty() ? "" : "seccomp";
  c.syscalls.reason = f.no_filter_reason;
  c.resources = ResourcesCapability(f);
  c.processes = ProcessesCapability(f);
  c.notes = {
      "the names and command lines of host processes can be read in /proc",
      "the job's uid has no passwd entry: that needs a mount namespace (sandbox)",
      "/dev/shm, System V IPC and message queues are refused: they would outlive the job",
      "no port can be listened on; only the session's proxy can be connected to",
  };
  return c;
}

}  // namespace writ::backends
