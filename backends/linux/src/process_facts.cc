#include "writ/backends/linux/process_facts.h"

#include <algorithm>
#include <charconv>
#include <sstream>
#include <string>

#include "writ/base/file.h"

namespace writ::backends {
namespace {

constexpr std::uint64_t kFileLimit = 16u << 20;  // above what execve(2) takes of an environment

std::string ProcFile(pid_t pid, std::string_view name) {
  auto text = ReadFile("/proc/" + std::to_string(pid) + "/" + std::string(name), kFileLimit);
  return text ? std::move(text).value() : std::string();
}

// Field `number` of /proc/PID/stat, counted from 1 as in proc(5); from 3 on. The name before the
// last ')' may hold anything.
std::uint64_t StatField(pid_t pid, int number) {
  const std::string stat = ProcFile(pid, "stat");
  const auto at = stat.rfind(')');
  if (at == std::string::npos) return 0;
  std::istringstream rest(stat.substr(at + 1));
  std::string skipped;
  for (int field = 3; field < number; ++field) rest >> skipped;
  std::uint64_t value = 0;
  rest >> value;
  return value;
}

}  // namespace

std::uint64_t StartTicksOf(pid_t pid) {
  return StatField(pid, 22);
}

pid_t ParentOf(pid_t pid) {
  return static_cast<pid_t>(StatField(pid, 4));
}

bool ShowsEntry(pid_t pid, std::string_view entry) {
  const std::string environment = ProcFile(pid, "environ");
  std::string_view left = environment;
  while (!left.empty()) {
    const std::string_view one = left.substr(0, left.find('\0'));
    if (one == entry) return true;
    left.remove_prefix(std::min(left.size(), one.size() + 1));
  }
  return false;
}

std::optional<unsigned> SeccompFiltersOf(pid_t pid) {
  constexpr std::string_view kName = "\nSeccomp_filters:\t";
  const std::string status = ProcFile(pid, "status");
  const auto at = status.find(kName);
  if (at == std::string::npos) return std::nullopt;
  unsigned count = 0;
  std::from_chars(status.data() + at + kName.size(), status.data() + status.size(), count);
  return count;
}

}  // namespace writ::backends
