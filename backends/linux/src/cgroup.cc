#include "writ/backends/linux/cgroup.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <map>
#include <optional>
#include <sstream>
#include <utility>

#include "writ/backends/linux/pidfd.h"
#include "writ/base/encoding.h"
#include "writ/base/file.h"

namespace writ::backends {
namespace {

constexpr std::uint64_t kFileLimit = 1u << 20;

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

std::uint64_t ReadNumber(const std::string& path) {
  auto text = ReadFile(path, kFileLimit);
  std::uint64_t value = 0;
  if (text) std::from_chars(text->data(), text->data() + text->size(), value);
  return value;
}

// "name N" lines of memory.oom_control (v1) and memory.events (v2).
std::uint64_t ReadNamedNumber(const std::string& path, const std::string& name) {
  auto text = ReadFile(path, kFileLimit);
  if (!text) return 0;
  std::istringstream lines(*text);
  std::string key;
  std::uint64_t value = 0;
  while (lines >> key >> value) {
    if (key == name) return value;
  }
  return 0;
}

// Where our own groups are: controller name ("" for v2) -> directory.
std::map<std::string, std::string> OwnDirectories() {
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

CgroupSupport ProbeCgroups() {
  CgroupSupport support;
  std::map<std::string, std::string> own = OwnDirectories();
  auto at = [&own](const std::string& name) {
    auto it = own.find(name);
    return it == own.end() ? std::string() : it->second;
  };
  const std::string v2 = at("");
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
  if (own.empty())
    support.reason = "no cgroup hierarchy is mounted";
  else if (support.pids_base.empty() || support.memory_base.empty())
    support.reason =
        "the cgroup of this process is not writable or has no pids and memory controllers";
  return support;
}

Result<CgroupSet> CgroupSet::Create(const CgroupSupport& support, const std::string& name,
                                    const Limits& limits) {
  CgroupSet set;
  auto make = [&set, &name](const std::string& base) -> Result<std::string> {
    std::string dir = base + "/writ-" + name;
    for (const std::string& known : set.directories_) {
      if (known == dir) return dir;
    }
    if (::mkdir(dir.c_str(), 0755) != 0)
      return SysError(errno, "cgroup.make", "cannot make the cgroup " + dir);
    set.directories_.push_back(dir);
    return dir;
  };
  if (!support.kill_base.empty()) {
    WRIT_ASSIGN(set.v2_directory_, make(support.kill_base));
  }
  if (!support.pids_base.empty() && limits.processes != 0) {
    WRIT_ASSIGN(std::string dir, make(support.pids_base));
    WRIT_TRY(WriteControl(dir + "/pids.max", std::to_string(limits.processes)));
  }
  if (!support.memory_base.empty() && limits.memory_bytes != 0) {
    WRIT_ASSIGN(std::string dir, make(support.memory_base));
    set.memory_dir_ = dir;
    set.memory_is_v2_ = support.memory_is_v2;
    std::string value = std::to_string(limits.memory_bytes);
    WRIT_TRY(WriteControl(dir + (support.memory_is_v2 ? "/memory.max" : "/memory.limit_in_bytes"),
                          value));
    // Swap would let the job grow past the limit; absent where swap accounting is off.
    std::string swap =
        dir + (support.memory_is_v2 ? "/memory.swap.max" : "/memory.memsw.limit_in_bytes");
    if (Exists(swap)) WRIT_TRY(WriteControl(swap, support.memory_is_v2 ? "0" : value));
  }
  return set;
}

CgroupSet::CgroupSet(CgroupSet&& other) noexcept
    : directories_(std::exchange(other.directories_, {})),
      v2_directory_(std::exchange(other.v2_directory_, {})),
      memory_dir_(std::exchange(other.memory_dir_, {})),
      memory_is_v2_(other.memory_is_v2_) {}

CgroupSet& CgroupSet::operator=(CgroupSet&& other) noexcept {
  if (this != &other) {
    Remove();
    directories_ = std::exchange(other.directories_, {});
    v2_directory_ = std::exchange(other.v2_directory_, {});
    memory_dir_ = std::exchange(other.memory_dir_, {});
    memory_is_v2_ = other.memory_is_v2_;
  }
  return *this;
}

CgroupSet::~CgroupSet() {
  Remove();
}

std::uint64_t CgroupSet::PeakMemoryBytes() const {
  if (memory_dir_.empty()) return 0;
  return ReadNumber(memory_dir_ + (memory_is_v2_ ? "/memory.peak" : "/memory.max_usage_in_bytes"));
}

std::uint64_t CgroupSet::OutOfMemoryKills() const {
  if (memory_dir_.empty()) return 0;
  return ReadNamedNumber(memory_dir_ + (memory_is_v2_ ? "/memory.events" : "/memory.oom_control"),
                         "oom_kill");
}

std::vector<std::string> CgroupSet::Remove() {
  std::vector<std::string> left;
  for (const std::string& dir : directories_) {
    if (!KillAndRemoveCgroup(dir)) left.push_back(dir);
  }
  directories_.clear();
  memory_dir_.clear();
  return left;
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
