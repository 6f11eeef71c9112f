// What of cgroups can be had here.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <sstream>
#include <utility>

#include "own_groups.h"
#include "writ/backends/linux/cgroup.h"
#include "writ/backends/linux/cgroup_delegation.h"
#include "writ/base/encoding.h"
#include "writ/base/file.h"

namespace writ::backends {
namespace {

constexpr std::uint64_t kFileLimit = 1u << 20;
constexpr std::size_t kMostDisks = 64;  // past it a rate is not set disk by disk

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

// Whole disks, partitions being theirs; not what lies in memory or in a file.
std::vector<std::string> Disks() {
  std::vector<std::string> out;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/block", ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("loop") || name.starts_with("ram") || name.starts_with("zram")) continue;
    auto number = ReadFile(entry.path().string() + "/dev", kFileLimit);
    auto size = ReadFile(entry.path().string() + "/size", kFileLimit);
    if (!number || !size || size->starts_with("0\n")) continue;
    out.push_back(number->substr(0, number->find('\n')));
  }
  std::sort(out.begin(), out.end());
  if (out.size() > kMostDisks) out.clear();
  return out;
}

// Controllers that a v2 group must hand on for what is held in it.
std::vector<std::string> NeededControllers(const CgroupSupport& support) {
  std::vector<std::string> out;
  if (support.cpu_is_v2) out.push_back("cpu");
  if (support.io_is_v2) out.push_back("io");
  if (support.memory_is_v2) out.push_back("memory");
  if (support.pids_is_v2) out.push_back("pids");
  return out;
}

// Where v2 could hold more than it does here, and whatever else is missing.
void Explain(const CgroupDelegation& delegation, CgroupSupport& support) {
  using State = CgroupDelegation::State;
  if (!support.pids_base.empty() && !support.memory_base.empty()) return;
  support.reason =
      "the cgroup of this process is not writable or has no pids and memory controllers";
  support.mend = "run the runner as root";
  if (delegation.state == State::kAbsent) return;
  support.reason = delegation.reason;
  support.mend = delegation.mend;
  if (delegation.state == State::kRefused) return;
  if (!delegation.Has("memory") || !delegation.Has("pids")) {
    support.reason = "the cgroup " + delegation.group + " was delegated without " +
                     (delegation.Has("memory") ? "pids" : "memory");
    support.mend = "delegate it too, in each unit above as well: Delegate=cpu io memory pids";
  } else {
    support.reason = "the cgroup " + delegation.group +
                     " was delegated and hands its controllers on once a runner has started in it";
    support.mend = "start the runner there; where it has, start it again";
  }
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
  CgroupDelegation delegation;
  std::string v2;
  if (generations == CgroupGenerations::kBoth) {
    delegation = LookAtDelegation();
    v2 = delegation.state == CgroupDelegation::State::kAbsent ? at("") : delegation.group;
  }
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
  support.disks = Disks();
  if (support.disks.empty()) {
    // Nothing that a rate could be set for.
  } else if (!v2.empty() && TryGroup(v2, {{"io.max", ""}})) {
    support.io_base = v2;
    support.io_is_v2 = true;
  } else if (!at("blkio").empty() &&
             TryGroup(at("blkio"), {{"blkio.throttle.read_bps_device", ""},
                                    {"blkio.throttle.write_bps_device", ""}})) {
    support.io_base = at("blkio");
  }
  if (support.kill_base.empty() && !at("freezer").empty() &&
      TryGroup(at("freezer"), {{"freezer.state", "THAWED"}}))
    support.freezer_base = at("freezer");
  if (support.kill_base.empty() && !at("cpuacct").empty() &&
      TryGroup(at("cpuacct"), {{"cpuacct.usage", ""}}))
    support.cpuacct_base = at("cpuacct");
  Explain(delegation, support);
  if (own.empty()) support.reason = "no cgroup hierarchy is mounted";
  return support;
}

std::string CgroupSupport::Lost() const {
  for (const std::string& base : Bases()) {
    if (::access(base.c_str(), W_OK) != 0) return base;
  }
  const std::vector<std::string> needed = NeededControllers(*this);
  if (needed.empty()) return "";
  const std::string file = kill_base + "/cgroup.subtree_control";
  auto on = ReadFile(file, kFileLimit);
  const std::string listed = " " + (on ? on->substr(0, on->find('\n')) : std::string()) + " ";
  for (const std::string& name : needed) {
    if (listed.find(" " + name + " ") == std::string::npos) return name + " in " + file;
  }
  return "";
}

}  // namespace writ::backends
