// What a job's groups have counted.
#include <charconv>
#include <sstream>
#include <string_view>

#include "writ/backends/linux/cgroup.h"
#include "writ/base/file.h"

namespace writ::backends {
namespace {

constexpr std::uint64_t kFileLimit = 4u << 20;

std::optional<std::uint64_t> ParseNumber(std::string_view text) {
  std::uint64_t value = 0;
  auto [end, err] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (err != std::errc() || end == text.data()) return std::nullopt;
  return value;
}

std::optional<std::uint64_t> ReadNumber(const std::string& path) {
  auto text = ReadFile(path, kFileLimit);
  return text ? ParseNumber(*text) : std::nullopt;
}

// "name N" lines: memory.events, memory.oom_control, cpu.stat, pids.events.
std::optional<std::uint64_t> ReadNamedNumber(const std::string& path, std::string_view name) {
  auto text = ReadFile(path, kFileLimit);
  if (!text) return std::nullopt;
  std::istringstream lines(*text);
  std::string key;
  std::uint64_t value = 0;
  while (lines >> key >> value) {
    if (key == name) return value;
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::uint64_t> CgroupSet::PeakMemoryBytes() const {
  if (dirs_.memory.empty()) return std::nullopt;
  return ReadNumber(dirs_.memory +
                    (dirs_.memory_is_v2 ? "/memory.peak" : "/memory.max_usage_in_bytes"));
}

std::optional<MemoryEvents> CgroupSet::OutOfMemory() const {
  if (dirs_.memory.empty()) return std::nullopt;
  auto kills = ReadNamedNumber(
      dirs_.memory + (dirs_.memory_is_v2 ? "/memory.events" : "/memory.oom_control"), "oom_kill");
  if (!kills) return std::nullopt;
  // "oom": the limit was reached and reclaim had failed; "max" alone is only a wish to reclaim.
  if (dirs_.memory_is_v2)
    return MemoryEvents{*kills,
                        ReadNamedNumber(dirs_.memory + "/memory.events", "oom").value_or(0)};
  // v1 kernels count failures in one of two files or (6.18) in neither; what the group reached
  // tells as well, up to the pages that a CPU keeps in stock.
  constexpr std::uint64_t kStock = 1u << 20;
  const std::uint64_t failures = ReadNumber(dirs_.memory + "/memory.failcnt").value_or(0) +
                                 ReadNumber(dirs_.memory + "/memory.memsw.failcnt").value_or(0);
  const std::uint64_t limit = ReadNumber(dirs_.memory + "/memory.limit_in_bytes").value_or(0);
  const bool reached = PeakMemoryBytes().value_or(0) + kStock >= limit;
  return MemoryEvents{*kills, failures + (reached ? 1 : 0)};
}

std::optional<std::chrono::microseconds> CgroupSet::CpuTime() const {
  if (dirs_.v2.empty()) {
    if (dirs_.cpuacct.empty()) return std::nullopt;
    auto nanoseconds = ReadNumber(dirs_.cpuacct + "/cpuacct.usage");
    if (!nanoseconds) return std::nullopt;
    return std::chrono::microseconds(*nanoseconds / 1000);
  }
  auto used = ReadNamedNumber(dirs_.v2 + "/cpu.stat", "usage_usec");
  if (!used) return std::nullopt;
  return std::chrono::microseconds(*used);
}

std::optional<IoBytes> CgroupSet::Io() const {
  if (dirs_.v2.empty()) return std::nullopt;
  auto text = ReadFile(dirs_.v2 + "/io.stat", kFileLimit);
  if (!text) return std::nullopt;
  IoBytes sum;
  std::istringstream words(*text);
  for (std::string word; words >> word;) {
    if (word.rfind("rbytes=", 0) == 0) sum.read += ParseNumber(word.substr(7)).value_or(0);
    if (word.rfind("wbytes=", 0) == 0) sum.written += ParseNumber(word.substr(7)).value_or(0);
  }
  return sum;
}

std::optional<std::uint64_t> CgroupSet::RefusedForks() const {
  if (dirs_.pids.empty()) return std::nullopt;
  return ReadNamedNumber(dirs_.pids + "/pids.events", "max");
}

std::optional<std::uint64_t> CgroupSet::Tasks() const {
  if (!dirs_.pids.empty()) return ReadNumber(dirs_.pids + "/pids.current");
  if (dirs_.v2.empty()) return std::nullopt;
  auto threads = ReadFile(dirs_.v2 + "/cgroup.threads", kFileLimit);
  if (!threads) return std::nullopt;
  std::uint64_t lines = 0;
  for (char c : *threads) lines += c == '\n' ? 1 : 0;
  return lines;
}

std::optional<std::vector<pid_t>> CgroupSet::Members() const {
  const std::string* dir = nullptr;
  for (const std::string* known : {&dirs_.v2, &dirs_.pids, &dirs_.freezer, &dirs_.memory})
    if (dir == nullptr && !known->empty()) dir = known;
  if (dir == nullptr) return std::nullopt;
  auto text = ReadFile(*dir + "/cgroup.procs", kFileLimit);
  if (!text) return std::nullopt;
  std::vector<pid_t> members;
  std::istringstream numbers(*text);
  for (pid_t pid = 0; numbers >> pid;) members.push_back(pid);
  return members;
}

}  // namespace writ::backends
