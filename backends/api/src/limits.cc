#include "writ/backends/limits.h"

#include <cstdlib>

namespace writ::backends {
namespace {

struct Words {
  std::string_view name;
  std::string_view code;
  std::string_view unit;
};

Words WordsOf(LimitKind kind) {
  switch (kind) {
    case LimitKind::kWall:
      return {"wall", "limit.wall", "ms"};
    case LimitKind::kCpu:
      return {"cpu", "limit.cpu", "ms"};
    case LimitKind::kMemory:
      return {"memory", "limit.memory", "bytes"};
    case LimitKind::kProcesses:
      return {"processes", "limit.processes", "tasks"};
    case LimitKind::kOpenFiles:
      return {"openFiles", "limit.openFiles", "descriptors"};
    case LimitKind::kDisk:
      return {"disk", "limit.disk", "bytes"};
    case LimitKind::kDiskFiles:
      return {"diskFiles", "limit.disk", "files"};
    case LimitKind::kOutput:
      return {"output", "limit.output", "bytes"};
    case LimitKind::kCpuShare:
      return {"cpuShare", "limit.cpuShare", "millicpus"};
    case LimitKind::kIo:
      return {"io", "limit.io", "bytesPerSecond"};
  }
  std::abort();
}

}  // namespace

std::string_view LimitName(LimitKind kind) {
  return WordsOf(kind).name;
}
std::string_view LimitCode(LimitKind kind) {
  return WordsOf(kind).code;
}
std::string_view LimitUnit(LimitKind kind) {
  return WordsOf(kind).unit;
}

std::string_view LimitSourceName(LimitSource source) {
  switch (source) {
    case LimitSource::kOperator:
      return "operator";
    case LimitSource::kPool:
      return "pool";
    case LimitSource::kContract:
      return "contract";
  }
  std::abort();
}

std::string_view LimitHolderName(LimitHolder holder) {
  switch (holder) {
    case LimitHolder::kNone:
      return "none";
    case LimitHolder::kRlimit:
      return "rlimit";
    case LimitHolder::kSupervisor:
      return "supervisor";
    case LimitHolder::kCgroupV1:
      return "cgroup-v1";
    case LimitHolder::kCgroupV2:
      return "kernel-cgroup-v2";
  }
  std::abort();
}

std::vector<PlannedLimit> PlannedLimits(const Limits& limits) {
  std::vector<PlannedLimit> out;
  auto add = [&out](LimitKind kind, std::uint64_t value, LimitSource source) {
    if (value != 0) out.push_back({kind, value, source});
  };
  const LimitSources& by = limits.sources;
  add(LimitKind::kWall, static_cast<std::uint64_t>(limits.wall_timeout.count()), by.wall);
  add(LimitKind::kCpu, static_cast<std::uint64_t>(limits.cpu_time.count()), by.cpu);
  add(LimitKind::kMemory, limits.memory_bytes, by.memory);
  add(LimitKind::kProcesses, limits.processes, by.processes);
  add(LimitKind::kOpenFiles, limits.open_files, by.open_files);
  add(LimitKind::kDisk, limits.disk_bytes, by.disk);
  add(LimitKind::kDiskFiles, limits.disk_files, by.disk);
  add(LimitKind::kOutput, limits.output.end_job_over_bytes, by.output);
  add(LimitKind::kCpuShare, limits.cpu_millis, by.cpu_share);
  add(LimitKind::kIo, limits.io_bytes_per_second, by.io);
  return out;
}

}  // namespace writ::backends
