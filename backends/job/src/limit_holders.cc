#include "writ/backends/job/limit_holders.h"

#include <string>

namespace writ::backends {
namespace {

LimitHolder Cgroup(bool is_v2) {
  return is_v2 ? LimitHolder::kCgroupV2 : LimitHolder::kCgroupV1;
}

// A controller that is missing, where memory and pids may be there.
void Lacks(const std::string& controller, HeldLimit& held, const HostFeatures& f) {
  held.note = f.cgroups.reason;
  held.mend = f.cgroups.mend;
  if (!held.note.empty()) return;
  held.note = "the cgroup of this process has no controller " + controller;
  held.mend = f.cgroups.memory_is_v2 ? "let it be delegated too, in each unit above as well: "
                                       "Delegate=cpu io memory pids"
                                     : "run the runner as root";
}

void HoldMemory(HeldLimit& held, const HostFeatures& f) {
  if (!f.cgroups.memory_base.empty()) {
    held.holder = Cgroup(f.cgroups.memory_is_v2);
    return;
  }
  held.holder = LimitHolder::kRlimit;
  held.note =
      "per process (RLIMIT_DATA) and not for the whole job; a refused allocation is the "
      "job's to tell";
  if (!f.cgroups.reason.empty()) held.note += ": " + f.cgroups.reason;
  held.mend = f.cgroups.mend;
}

void HoldCpuShare(HeldLimit& held, const HostFeatures& f) {
  if (!f.cgroups.cpu_base.empty()) {
    held.holder = Cgroup(f.cgroups.cpu_is_v2);
    return;
  }
  held.holder = LimitHolder::kNone;
  Lacks("cpu", held, f);
}

void HoldIo(HeldLimit& held, const HostFeatures& f) {
  if (f.cgroups.io_base.empty()) {
    held.holder = LimitHolder::kNone;
    Lacks("io", held, f);
    return;
  }
  held.holder = Cgroup(f.cgroups.io_is_v2);
  held.note = "at each of " + std::to_string(f.cgroups.disks.size()) +
              " disks; memory and network file systems are not slowed";
  if (!f.cgroups.io_is_v2) held.note += ", nor are writes that the kernel holds back";
}

void HoldProcesses(HeldLimit& held, const Limits& limits, const HostFeatures& f) {
  if (ProcessesInGroup(limits, f)) {
    held.holder = Cgroup(f.cgroups.pids_is_v2);
    return;
  }
  held.holder = LimitHolder::kRlimit;
  held.note = f.root ? "of the job's own uid, " + std::to_string(kTaskSlack) +
                           " above the limit at which the supervisor ends the job"
                     : "of a uid that the job shares with the runner";
}

void HoldDisk(HeldLimit& held, const HostFeatures& f, JobSurroundings surroundings) {
  held.holder = LimitHolder::kSupervisor;
  held.note = "passed by what is written in " + std::to_string(kWatchInterval.count()) +
              " ms and one measurement";
  // In a root of its own there is no other place that it may write.
  if (f.landlock_abi == 0 && surroundings == JobSurroundings::kTheHosts)
    held.note += "; without Landlock the job can also write where its uid may elsewhere";
}

}  // namespace

std::uint64_t OwnTasks(JobSurroundings surroundings) {
  return surroundings == JobSurroundings::kNamespaces ? 1 : 0;
}

bool ProcessesInGroup(const Limits& limits, const HostFeatures& features) {
  const CgroupSupport& groups = features.cgroups;
  if (groups.pids_base.empty()) return false;
  const bool moved_anyway =
      (limits.memory_bytes != 0 && !groups.memory_base.empty() && !groups.memory_is_v2) ||
      (limits.cpu_millis != 0 && !groups.cpu_base.empty() && !groups.cpu_is_v2) ||
      (limits.io_bytes_per_second != 0 && !groups.io_base.empty() && !groups.io_is_v2);
  return !features.root || groups.pids_is_v2 || moved_anyway;
}

std::vector<HeldLimit> HoldLimits(const Limits& limits, const HostFeatures& features,
                                  JobSurroundings surroundings) {
  std::vector<HeldLimit> out;
  for (const PlannedLimit& limit : PlannedLimits(limits)) {
    HeldLimit held{limit, LimitHolder::kSupervisor, ""};
    switch (limit.kind) {
      case LimitKind::kWall:
      case LimitKind::kOutput:
        break;
      case LimitKind::kCpu:
        held.note = !features.cgroups.kill_base.empty()      ? "counted by cgroup v2"
                    : !features.cgroups.cpuacct_base.empty() ? "counted by cgroup v1"
                                                             : "counted process by process";
        break;
      case LimitKind::kCpuShare:
        HoldCpuShare(held, features);
        break;
      case LimitKind::kIo:
        HoldIo(held, features);
        break;
      case LimitKind::kMemory:
        HoldMemory(held, features);
        break;
      case LimitKind::kProcesses:
        HoldProcesses(held, limits, features);
        break;
      case LimitKind::kOpenFiles:
        held.holder = LimitHolder::kRlimit;
        held.note = "per process (RLIMIT_NOFILE); refused call by call, which is the job's to tell";
        break;
      case LimitKind::kDisk:
      case LimitKind::kDiskFiles:
        HoldDisk(held, features, surroundings);
        break;
    }
    out.push_back(std::move(held));
  }
  return out;
}

bool HeldForTheWholeJob(const HeldLimit& held) {
  const bool per_process =
      held.limit.kind == LimitKind::kMemory && held.holder == LimitHolder::kRlimit;
  return held.holder != LimitHolder::kNone && !per_process;
}

Limits EveryLimit() {
  Limits every;
  every.cpu_time = std::chrono::milliseconds(1);
  every.cpu_millis = 1;
  every.memory_bytes = 1;
  every.disk_bytes = 1;
  every.disk_files = 1;
  return every;
}

std::vector<LimitCapability> DescribeLimits(std::vector<HeldLimit> every) {
  std::vector<LimitCapability> out;
  for (HeldLimit& held : every)
    out.push_back({held.limit.kind, held.holder, HeldForTheWholeJob(held), std::move(held.note)});
  return out;
}

}  // namespace writ::backends
