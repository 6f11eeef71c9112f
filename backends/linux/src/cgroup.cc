#include "writ/backends/linux/cgroup.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <map>
#include <optional>
#include <sstream>
#include <utility>

#include "own_groups.h"
#include "writ/backends/linux/pidfd.h"
#include "writ/base/encoding.h"
#include "writ/base/file.h"

namespace writ::backends {
namespace {

constexpr std::uint64_t kFileLimit = 1u << 20;
constexpr std::uint64_t kPeriodMicros = 100'000;      // the kernel's own choice
constexpr std::uint64_t kLeastQuotaMicros = 1'000;    // below it the kernel refuses
constexpr std::uint64_t kMostCpuMillis = 1ull << 30;  // so that nothing wraps round

Status WriteControl(const std::string& path, const std::string& value) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return SysError(errno, "cgroup.open", "cannot open " + path);
  if (::write(fd.get(), value.data(), value.size()) != static_cast<ssize_t>(value.size()))
    return SysError(errno, "cgroup.write", "cannot write " + path);
  return {};
}

bool Exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

// Makes a group, checks that the files are there and take a value, and removes it.
bool TryGroup(const std::string& base,
              const std::vector<std::pair<std::string, std::string>>& writes) {
  std::string dir = base + "/writ-probe-" + HexEncode(RandomBytes(6));
  if (::mkdir(dir.c_str(), 0755) != 0) return false;
  bool good = true;
  for (const auto& [file, value] : writes) {
    if (value.empty() ? !Exists(dir + "/" + file)
                      : !WriteControl(dir + "/" + file, value).has_value())
      good = false;
  }
  return ::rmdir(dir.c_str()) == 0 && good;
}

}  // namespace

std::map<std::string, std::string> OwnCgroupDirectories() {
  std::map<std::string, std::string> own_path;  // controller -> path in its hierarchy
  auto cgroup = ReadFile("/proc/self/cgroup", kFileLimit);
  auto mounts = ReadFile("/proc/self/mountinfo", kFileLimit);
  std::map<std::string, std::string> found;
  if (!cgroup || !mounts) return found;
  std::istringstream lines(*cgroup);
  for (std::string line; std::getline(lines, line);) {
    auto first = line.find(':');
    auto second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    std::istringstream names(line.substr(first + 1, second - first - 1));
    std::string path = line.substr(second + 1);
    bool any = false;
    for (std::string name; std::getline(names, name, ','); any = true) own_path[name] = path;
    if (!any) own_path[""] = path;
  }
  std::istringstream mount_lines(*mounts);
  for (std::string line; std::getline(mount_lines, line);) {
    std::istringstream fields(line);
    std::string id, parent, device, root, point, options, field, type, source, super;
    fields >> id >> parent >> device >> root >> point >> options;
    while (fields >> field && field != "-") {
    }
    fields >> type >> source >> super;
    if (type != "cgroup" && type != "cgroup2") continue;
    auto add = [&](const std::string& name) {
      auto it = own_path.find(name);
      if (it == own_path.end() || found.count(name) != 0) return;
      std::string path = it->second;
      if (root != "/" && path.rfind(root, 0) == 0) path = path.substr(root.size());
      found[name] = point + (path == "/" ? "" : path);
    };
    if (type == "cgroup2") {
      add("");
    } else {
      std::istringstream names(super);
      for (std::string name; std::getline(names, name, ',');) add(name);
    }
  }
  return found;
}

CgroupSupport ProbeCgroups(CgroupGenerations generations) {
  CgroupSupport support;
  std::map<std::string, std::string> own = OwnCgroupDirectories();
  auto at = [&own](const std::string& name) {
    auto it = own.find(name);
    return it == own.end() ? std::string() : it->second;
  };
  const std::string v2 = generations == CgroupGenerations::kBoth ? at("") : std::string();
  if (!v2.empty() && TryGroup(v2, {{"cgroup.kill", ""}})) support.kill_base = v2;
  if (!v2.empty() && TryGroup(v2, {{"pids.max", "1000"}})) {
    support.pids_base = v2;
    support.pids_is_v2 = true;
  } else if (!at("pids").empty() && TryGroup(at("pids"), {{"pids.max", "1000"}})) {
    support.pids_base = at("pids");
  }
  if (!v2.empty() && TryGroup(v2, {{"memory.max", "1073741824"}})) {
    support.memory_base = v2;
    support.memory_is_v2 = true;
  } else if (!at("memory").empty() &&
             TryGroup(at("memory"), {{"memory.limit_in_bytes", "1073741824"}})) {
    support.memory_base = at("memory");
  }
  if (!v2.empty() && TryGroup(v2, {{"cpu.max", "100000 100000"}})) {
    support.cpu_base = v2;
    support.cpu_is_v2 = true;
  } else if (!at("cpu").empty() && TryGroup(at("cpu"), {{"cpu.cfs_period_us", "100000"},
                                                        {"cpu.cfs_quota_us", "100000"}})) {
    support.cpu_base = at("cpu");
  }
  if (support.kill_base.empty() && !at("freezer").empty() &&
      TryGroup(at("freezer"), {{"freezer.state", "THAWED"}}))
    support.freezer_base = at("freezer");
  if (support.kill_base.empty() && !at("cpuacct").empty() &&
      TryGroup(at("cpuacct"), {{"cpuacct.usage", ""}}))
    support.cpuacct_base = at("cpuacct");
  if (own.empty())
    support.reason = "no cgroup hierarchy is mounted";
  else if (support.pids_base.empty() || support.memory_base.empty())
    support.reason =
        "the cgroup of this process is not writable or has no pids and memory controllers";
  return support;
}

std::vector<std::string> CgroupSupport::Bases() const {
  std::vector<std::string> bases;
  for (const std::string* base :
       {&kill_base, &pids_base, &memory_base, &cpu_base, &cpuacct_base, &freezer_base})
    if (!base->empty() && std::find(bases.begin(), bases.end(), *base) == bases.end())
      bases.push_back(*base);
  return bases;
}

Result<CgroupSet> CgroupSet::Create(const CgroupSupport& support, const std::string& name,
                                    const Limits& limits) {
  CgroupSet set;
  Directories& dirs = set.dirs_;
  auto make = [&dirs, &name](const std::string& base) -> Result<std::string> {
    std::string dir = base + "/writ-" + name;
    for (const std::string& known : dirs.all) {
      if (known == dir) return dir;
    }
    if (::mkdir(dir.c_str(), 0755) != 0)
      return SysError(errno, "cgroup.make", "cannot make the cgroup " + dir);
    dirs.all.push_back(dir);
    return dir;
  };
  if (!support.kill_base.empty()) {
    WRIT_ASSIGN(dirs.v2, make(support.kill_base));
  }
  if (!support.freezer_base.empty()) {
    WRIT_ASSIGN(dirs.freezer, make(support.freezer_base));
  }
  if (!support.cpuacct_base.empty()) {
    WRIT_ASSIGN(dirs.cpuacct, make(support.cpuacct_base));
  }
  if (!support.cpu_base.empty() && limits.cpu_millis != 0) {
    WRIT_ASSIGN(const std::string dir, make(support.cpu_base));
    const std::uint64_t quota = std::max(
        kLeastQuotaMicros, std::min(limits.cpu_millis, kMostCpuMillis) * kPeriodMicros / 1000);
    if (support.cpu_is_v2) {
      WRIT_TRY(WriteControl(dir + "/cpu.max",
                            std::to_string(quota) + " " + std::to_string(kPeriodMicros)));
    } else {
      WRIT_TRY(WriteControl(dir + "/cpu.cfs_period_us", std::to_string(kPeriodMicros)));
      WRIT_TRY(WriteControl(dir + "/cpu.cfs_quota_us", std::to_string(quota)));
    }
  }
  if (!support.pids_base.empty() && limits.processes != 0) {
    WRIT_ASSIGN(dirs.pids, make(support.pids_base));
    WRIT_TRY(WriteControl(dirs.pids + "/pids.max", std::to_string(limits.processes)));
  }
  if (!support.memory_base.empty() && limits.memory_bytes != 0) {
    WRIT_ASSIGN(dirs.memory, make(support.memory_base));
    dirs.memory_is_v2 = support.memory_is_v2;
    std::string value = std::to_string(limits.memory_bytes);
    WRIT_TRY(WriteControl(
        dirs.memory + (support.memory_is_v2 ? "/memory.max" : "/memory.limit_in_bytes"), value));
    // Swap would let the job grow past the limit; absent where swap accounting is off.
    std::string swap =
        dirs.memory + (support.memory_is_v2 ? "/memory.swap.max" : "/memory.memsw.limit_in_bytes");
    if (Exists(swap)) WRIT_TRY(WriteControl(swap, support.memory_is_v2 ? "0" : value));
    // The job is ended as a whole anyway; without it, half a job would go on until the next look.
    std::string group = dirs.memory + "/memory.oom.group";
    if (support.memory_is_v2 && Exists(group)) WRIT_TRY(WriteControl(group, "1"));
  }
  return set;
}

CgroupSet::CgroupSet(CgroupSet&& other) noexcept : dirs_(std::exchange(other.dirs_, {})) {}

CgroupSet& CgroupSet::operator=(CgroupSet&& other) noexcept {
  if (this != &other) {
    Remove();
    dirs_ = std::exchange(other.dirs_, {});
  }
  return *this;
}

CgroupSet::~CgroupSet() {
  Remove();
}

std::vector<std::string> CgroupSet::Remove() {
  std::vector<std::string> left;
  if (!dirs_.freezer.empty()) SetFreezer(dirs_.freezer, Freeze::kThawed);
  for (const std::string& dir : dirs_.all) {
    if (!KillAndRemoveCgroup(dir)) left.push_back(dir);
  }
  dirs_ = {};
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
