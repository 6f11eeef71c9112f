#include "writ/backends/job/host_features.h"

#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "writ/backends/job/limit_holders.h"
#include "writ/backends/linux/allow_list.h"
#include "writ/backends/linux/job_filter.h"
#include "writ/backends/linux/keyring.h"
#include "writ/backends/linux/landlock.h"
#include "writ/backends/linux/terminal.h"
#include "writ/base/child.h"
#include "writ/base/file.h"

namespace writ::backends {
namespace {

constexpr std::chrono::seconds kProbeBound{20};
constexpr std::uint64_t kProbeOutputLimit = 64 * 1024;

void ProbeNotification(const LaunchedOptions& options, HostFeatures& features) {
  const std::string answer = AskLauncher(options.launcher, {"--probe"}, features.launcher_problem);
  if (!features.launcher_problem.empty()) return;
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

}  // namespace

void CompileFilters(JobSurroundings surroundings, HostFeatures& features) {
  features.filter.clear();
  features.default_list.clear();
  features.build_list.clear();
  features.recording_filter.clear();
  auto filter = CompileJobFilter(
      features.user_notification ? ConnectRule::kSupervised : ConnectRule::kAllowed, surroundings);
  auto default_list = CompileAllowList(AllowList::kDefault);
  auto build_list = CompileAllowList(AllowList::kBuild);
  for (const auto* part : {&filter, &default_list, &build_list}) {
    if (*part) continue;
    features.no_filter_reason = part->error().message;
    return;
  }
  features.filter = std::move(filter).value();
  features.default_list = std::move(default_list).value();
  features.build_list = std::move(build_list).value();
  if (!features.user_notification) return;
  if (auto recording = CompileRecordingFilter())
    features.recording_filter = std::move(recording).value();
}

std::string AskLauncher(const std::string& launcher, const std::vector<std::string>& arguments,
                        std::string& problem) {
  auto pipe = MakePipe();
  if (!pipe) {
    problem = pipe.error().message;
    return {};
  }
  SpawnOptions spawn;
  spawn.path = launcher;
  spawn.argv = {"writ-launch"};
  spawn.argv.insert(spawn.argv.end(), arguments.begin(), arguments.end());
  spawn.fds = {{pipe->write_end.get(), 1}};
  auto child = Child::Spawn(spawn);
  if (!child) {
    problem = child.error().message;
    return {};
  }
  pipe->write_end.reset();
  // The probe bounds itself; its end closes the pipe. Destroying the child kills what does not end.
  auto status = child->Wait(kProbeBound);
  if (!status || !*status || (*status)->ShellCode() != 0) {
    problem = "the launcher's probe did not end well";
    return {};
  }
  auto text = ReadAll(pipe->read_end.get(), kProbeOutputLimit);
  return text ? *text : std::string();
}

HostFeatures ProbeHost(const LaunchedOptions& options, JobSurroundings surroundings) {
  HostFeatures features;
  features.root = ::geteuid() == 0;
  features.landlock_abi = std::min(LandlockAbi(), options.assume_landlock_abi.value_or(1 << 20));
  // In a view of its own a job has its own devpts.
  struct stat multiplexer {};
  features.terminals =
      surroundings == JobSurroundings::kNamespaces ||
      (::stat(kHostTerminals, &multiplexer) == 0 && (multiplexer.st_mode & 06) == 06);
  ProbeNotification(options, features);
  if (options.user_notification == LaunchedOptions::UserNotification::kAssumeAbsent) {
    features.user_notification = false;
    features.no_notification_reason = "assumed absent";
  }
  if (options.cgroups != LaunchedOptions::Cgroups::kAssumeAbsent)
    features.cgroups = ProbeCgroups(options.cgroups == LaunchedOptions::Cgroups::kAsProbed
                                        ? CgroupGenerations::kBoth
                                        : CgroupGenerations::kOnlyV1);
  else
    features.cgroups.reason = "assumed absent";
  CompileFilters(surroundings, features);
  features.keyrings = KernelHasKeyrings();
  return features;
}

AspectCapability DescribeResources(const HostFeatures& f) {
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
  resources.mend = f.cgroups.mend;
  return resources;
}

AspectCapability DescribeSyscalls(const HostFeatures& f) {
  AspectCapability syscalls;
  syscalls.enforcement = f.filter.empty() ? Enforcement::kNone : Enforcement::kKernel;
  syscalls.mechanism = f.filter.empty() ? "" : "seccomp, list of what is allowed";
  syscalls.reason = f.no_filter_reason;
  return syscalls;
}

Capabilities DescribeLauncher(const HostFeatures& f, Tier tier, const std::string& name) {
  Capabilities c;
  c.tier = tier;
  c.backend = name;
  utsname host{};
  ::uname(&host);
  c.version = "writ " WRIT_VERSION ", linux " + std::string(host.release);
  c.limits = DescribeLimits(HoldLimits(
      EveryLimit(), f,
      tier == Tier::kProcess ? JobSurroundings::kTheHosts : JobSurroundings::kNamespaces));
  c.usable = f.launcher_problem.empty() && !f.filter.empty();
  c.pty = f.terminals;
  if (!f.launcher_problem.empty()) {
    c.unusable_reason = "writ-launch cannot be used: " + f.launcher_problem;
    c.unusable_mend = "install writ-launch beside writ, or name it in the configuration";
  } else if (f.filter.empty()) {
    c.unusable_reason = "the system call filter cannot be made: " + f.no_filter_reason;
    c.unusable_mend =
        "a kernel with CONFIG_SECCOMP_FILTER on an architecture that libseccomp knows";
  }
  return c;
}

}  // namespace writ::backends
