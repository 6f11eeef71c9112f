#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include <sstream>

#include "writ/backends/microvm/agent.h"
#include "writ/base/file.h"

namespace writ::backends::microvm {
namespace {

constexpr std::uint64_t kFileLimit = 1u << 20;
constexpr std::uint64_t kMicros = 1'000'000;

std::uint64_t FieldOf(const std::string& meminfo, const std::string& name) {
  const auto at = meminfo.find(name + ":");
  if (at == std::string::npos) return 0;
  std::uint64_t kibibytes = 0;
  std::istringstream(meminfo.substr(at + name.size() + 1)) >> kibibytes;
  return kibibytes << 10;
}

}  // namespace

Metrics ReadMetrics(const std::string& scratch) {
  Metrics out;
  if (auto memory = ReadFile("/proc/meminfo", kFileLimit)) {
    out.memory_total = FieldOf(*memory, "MemTotal");
    out.memory_available = FieldOf(*memory, "MemAvailable");
  }
  if (auto stat = ReadFile("/proc/stat", kFileLimit)) {
    std::istringstream line(*stat);
    std::string cpu;
    std::uint64_t user = 0, nice = 0, system = 0;
    line >> cpu >> user >> nice >> system;
    const auto ticks = static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK));
    out.cpu_us = (user + nice + system) * (kMicros / ticks);
  }
  struct statvfs disk {};
  if (::statvfs(scratch.c_str(), &disk) == 0)
    out.disk_bytes = (disk.f_blocks - disk.f_bfree) * disk.f_frsize;
  timespec up{};
  ::clock_gettime(CLOCK_BOOTTIME, &up);
  out.uptime_us = static_cast<std::uint64_t>(up.tv_sec) * kMicros +
                  static_cast<std::uint64_t>(up.tv_nsec) / 1000;
  return out;
}

}  // namespace writ::backends::microvm
