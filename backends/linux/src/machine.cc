#include "writ/backends/linux/machine.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <functional>
#include <limits>
#include <sstream>
#include <string>

#include "own_groups.h"
#include "writ/base/file.h"

namespace writ::backends {
namespace {

constexpr std::uint64_t kFileLimit = 1u << 20;
constexpr std::uint64_t kNone = std::numeric_limits<std::uint64_t>::max();

std::optional<std::uint64_t> Number(std::string_view text) {
  std::uint64_t value = 0;
  auto [end, err] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (err != std::errc() || end == text.data()) return std::nullopt;
  return value;
}

std::string Text(const std::string& path) {
  auto text = ReadFile(path, kFileLimit);
  return text ? std::move(text).value() : std::string();
}

// "Name:  123 kB" of meminfo and "name 123" of memory.stat.
std::optional<std::uint64_t> Named(const std::string& text, std::string_view name) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string key, value;
    words >> key >> value;
    if (key == name) return Number(value);
  }
  return std::nullopt;
}

// Each directory from our own up to where the hierarchy is mounted.
void EachLevel(std::string dir, const std::function<void(const std::string&)>& look) {
  while (!dir.empty() && ::access((dir + "/cgroup.procs").c_str(), F_OK) == 0) {
    look(dir);
    dir.resize(dir.rfind('/'));
  }
}

std::uint64_t AllowedCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) == 0)
    return static_cast<std::uint64_t>(CPU_COUNT(&set));
  return static_cast<std::uint64_t>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
}

}  // namespace

std::optional<std::uint64_t> CpuQuotaMillis(std::string_view cpu_max) {
  auto blank = cpu_max.find(' ');
  if (blank == std::string_view::npos) return std::nullopt;
  auto quota = Number(cpu_max.substr(0, blank));
  auto period = Number(cpu_max.substr(blank + 1));
  if (!quota || !period || *period == 0 || *quota > kNone / 1000) return std::nullopt;
  return std::max<std::uint64_t>(1, *quota * 1000 / *period);
}

MachineCapacity ProbeMachine() {
  MachineCapacity machine;
  auto own = OwnCgroupDirectories();
  std::uint64_t cpu = AllowedCpus() * 1000;
  auto at_most = [](std::uint64_t& value, std::optional<std::uint64_t> limit) {
    if (limit) value = std::min(value, *limit);
  };
  EachLevel(own[""],
            [&](const std::string& dir) { at_most(cpu, CpuQuotaMillis(Text(dir + "/cpu.max"))); });
  EachLevel(own["cpu"], [&](const std::string& dir) {
    std::string quota = Text(dir + "/cpu.cfs_quota_us");
    quota = quota.substr(0, quota.find('\n'));
    at_most(cpu, CpuQuotaMillis(quota + " " + Text(dir + "/cpu.cfs_period_us")));  // -1: no number
  });
  machine.cpu_millis = cpu;

  const std::string meminfo = Text("/proc/meminfo");
  std::uint64_t total = Named(meminfo, "MemTotal:").value_or(0) * 1024;
  std::uint64_t available = Named(meminfo, "MemAvailable:").value_or(0) * 1024;
  if (total == 0) return machine;
  auto level = [&](const std::string& dir, const char* limit_file, const char* usage_file) {
    auto limit = Number(Text(dir + "/" + limit_file));
    if (!limit) return;
    total = std::min(total, *limit);
    // Cached file pages count as used here and can be had back.
    const std::string stat = Text(dir + "/memory.stat");
    const std::uint64_t cached = Named(stat, "inactive_file").value_or(0);
    const std::uint64_t usage = Number(Text(dir + "/" + usage_file)).value_or(0);
    const std::uint64_t held = usage > cached ? usage - cached : 0;
    available = std::min(available, *limit > held ? *limit - held : 0);
  };
  EachLevel(own[""], [&](const std::string& dir) { level(dir, "memory.max", "memory.current"); });
  EachLevel(own["memory"], [&](const std::string& dir) {
    level(dir, "memory.limit_in_bytes", "memory.usage_in_bytes");
  });
  machine.memory_bytes = std::max<std::uint64_t>(1, total);
  machine.available_memory_bytes = std::max<std::uint64_t>(1, available);
  return machine;
}

}  // namespace writ::backends
