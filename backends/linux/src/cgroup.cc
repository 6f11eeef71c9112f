#include "writ/backends/linux/cgroup.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <optional>
#include <sstream>
#include <utility>

#include "own_groups.h"
#include "writ/backends/linux/pidfd.h"
#include "writ/base/file.h"

namespace writ::backends {
namespace {

constexpr std::uint64_t kFileLimit = 1u << 20;
constexpr std::uint64_t kPeriodMicros = 100'000;      // the kernel's own choice
constexpr std::uint64_t kLeastQuotaMicros = 1'000;    // below it the kernel refuses
constexpr std::uint64_t kMostCpuMillis = 1ull << 30;  // so that nothing wraps round
// In v1 the buffers of TCP are beside the limit: little, and enough for a proxied connection or
// two.
constexpr std::uint64_t kTcpShare = 8;
constexpr std::uint64_t kLeastTcpBytes = 4u << 20;

bool Exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

std::uint64_t TcpBytes(std::uint64_t memory_bytes) {
  return std::max(kLeastTcpBytes, memory_bytes / kTcpShare);
}

}  // namespace

Status WriteControl(const std::string& path, const std::string& value) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return SysError(errno, "cgroup.open", "cannot open " + path);
  if (::write(fd.get(), value.data(), value.size()) != static_cast<ssize_t>(value.size()))
    return SysError(errno, "cgroup.write", "cannot write " + path);
  return {};
}

std::vector<std::string> CgroupSupport::Bases() const {
  std::vector<std::string> bases;
  for (const std::string* base :
       {&kill_base, &pids_base, &memory_base, &cpu_base, &io_base, &cpuacct_base, &freezer_base})
    if (!base->empty() && std::find(bases.begin(), bases.end(), *base) == bases.end())
      bases.push_back(*base);
  return bases;
}

CgroupPlan PlanCgroups(const CgroupSupport& support, const std::string& name,
                       const CgroupLimits& limits) {
  CgroupPlan plan;
  using Where = CgroupPlan::Write::Where;
  auto group = [&plan, &name](const std::string& base) {
    std::string dir = base + "/writ-" + name;
    if (std::find(plan.directories.begin(), plan.directories.end(), dir) == plan.directories.end())
      plan.directories.push_back(dir);
    return dir;
  };
  auto write = [&plan](std::string file, std::string value, Where where = Where::kNeeded) {
    plan.writes.push_back({std::move(file), std::move(value), where});
  };
  if (!support.kill_base.empty()) plan.v2 = group(support.kill_base);
  if (!support.freezer_base.empty()) plan.freezer = group(support.freezer_base);
  if (!support.cpuacct_base.empty()) plan.cpuacct = group(support.cpuacct_base);
  if (!support.cpu_base.empty() && limits.cpu_millis != 0) {
    const std::string dir = group(support.cpu_base);
    const std::string period = std::to_string(kPeriodMicros);
    const std::string quota = std::to_string(std::max(
        kLeastQuotaMicros, std::min(limits.cpu_millis, kMostCpuMillis) * kPeriodMicros / 1000));
    if (support.cpu_is_v2) {
      write(dir + "/cpu.max", quota + " " + period);
    } else {
      write(dir + "/cpu.cfs_period_us", period);
      write(dir + "/cpu.cfs_quota_us", quota);
    }
  }
  if (!support.pids_base.empty() && limits.processes != 0) {
    plan.pids = group(support.pids_base);
    write(plan.pids + "/pids.max", std::to_string(limits.processes));
  }
  if (!support.memory_base.empty() && limits.memory_bytes != 0) {
    plan.memory = group(support.memory_base);
    plan.memory_is_v2 = support.memory_is_v2;
    const std::string value = std::to_string(limits.memory_bytes);
    // Swap would let the job grow past the limit; absent where swap accounting is off.
    if (support.memory_is_v2) {
      write(plan.memory + "/memory.max", value);
      write(plan.memory + "/memory.swap.max", "0", Where::kIfThere);
      // The job is ended as a whole anyway; without it, half a job would go on until the next look.
      write(plan.memory + "/memory.oom.group", "1", Where::kIfThere);
    } else {
      write(plan.memory + "/memory.limit_in_bytes", value);
      write(plan.memory + "/memory.memsw.limit_in_bytes", value, Where::kIfThere);
      // What TCP holds for sockets is counted by itself here, and only where it has a limit.
      write(plan.memory + "/memory.kmem.tcp.limit_in_bytes",
            std::to_string(TcpBytes(limits.memory_bytes)), Where::kIfThere);
    }
  }
  if (!support.io_base.empty() && limits.io_bytes_per_second != 0) {
    const std::string dir = group(support.io_base);
    const std::string rate = std::to_string(limits.io_bytes_per_second);
    for (const std::string& disk : support.disks) {
      if (support.io_is_v2) {
        write(dir + "/io.max", disk + " rbps=" + rate + " wbps=" + rate);
      } else {
        write(dir + "/blkio.throttle.read_bps_device", disk + " " + rate);
        write(dir + "/blkio.throttle.write_bps_device", disk + " " + rate);
      }
    }
  }
  return plan;
}

Result<CgroupSet> CgroupSet::Create(const CgroupPlan& plan) {
  CgroupSet set;
  set.dirs_ = plan;
  for (const std::string& dir : plan.directories) {
    if (::mkdir(dir.c_str(), 0755) != 0)
      return SysError(errno, "cgroup.make", "cannot make the cgroup " + dir);
    set.made_.push_back(dir);
  }
  for (const CgroupPlan::Write& write : plan.writes) {
    if (write.where == CgroupPlan::Write::Where::kIfThere && !Exists(write.file)) continue;
    WRIT_TRY(WriteControl(write.file, write.value));
  }
  return set;
}

CgroupSet::CgroupSet(CgroupSet&& other) noexcept
    : dirs_(std::exchange(other.dirs_, {})), made_(std::exchange(other.made_, {})) {}

CgroupSet& CgroupSet::operator=(CgroupSet&& other) noexcept {
  if (this != &other) {
    Remove();
    dirs_ = std::exchange(other.dirs_, {});
    made_ = std::exchange(other.made_, {});
  }
  return *this;
}

CgroupSet::~CgroupSet() {
  Remove();
}

std::vector<std::string> CgroupSet::Remove() {
  std::vector<std::string> left;
  if (std::find(made_.begin(), made_.end(), dirs_.freezer) != made_.end())
    SetFreezer(dirs_.freezer, Freeze::kThawed);
  for (const std::string& dir : made_) {
    if (!KillAndRemoveCgroup(dir)) left.push_back(dir);
  }
  dirs_ = {};
  made_.clear();
  return left;
}

bool SetFreezer(const std::string& directory, Freeze state) {
  return WriteControl(directory + "/freezer.state", state == Freeze::kFrozen ? "FROZEN" : "THAWED")
      .has_value();
}

bool KillAndRemoveCgroup(const std::string& directory) {
  // Members are dead already in the ordinary case; a lost supervisor leaves some. rmdir says EBUSY
  // while a member is still being taken apart.
  constexpr int kAttempts = 200;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (::rmdir(directory.c_str()) == 0 || errno == ENOENT) return true;
    if (errno != EBUSY) return false;
    if (!Exists(directory + "/cgroup.kill") ||
        !WriteControl(directory + "/cgroup.kill", "1").has_value()) {
      auto members = ReadFile(directory + "/cgroup.procs", kFileLimit);
      std::istringstream pids(members ? *members : std::string());
      for (pid_t pid = 0; pids >> pid;) {
        auto pidfd = OpenPidfd(pid);
        if (pidfd) SignalPidfd(pidfd->get(), SIGKILL);
      }
    }
    ::usleep(5000);
  }
  return false;
}

}  // namespace writ::backends
