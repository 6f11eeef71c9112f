#include "session/resource_record.h"

#include <string>

namespace writ::runner {

using backends::LimitKind;
using protocol::FailureClass;

namespace {

// Where whoever set the limit finds it.
std::string Raise(const backends::PlannedLimit& limit, std::string_view member) {
  return "raise " + std::string(member) +
         (limit.source == backends::LimitSource::kContract ? " of the contract's execution"
                                                           : " of the runner");
}

}  // namespace

json::Value ResourceUsed(const backends::Outcome& outcome) {
  const backends::Usage& used = outcome.usage;
  json::Object event{{"type", kResourceUsed}};
  json::Object source;
  using std::chrono::duration_cast;
  using std::chrono::milliseconds;
  if (outcome.duration.count() > 0)
    event.Set("wallMs", duration_cast<milliseconds>(outcome.duration).count());
  if (used.cpu_time) {
    event.Set("cpuMs", duration_cast<milliseconds>(*used.cpu_time).count());
    source.Set("cpu", CountedByName(used.cpu_by));
  }
  // Of the whole job where a cgroup counted it, else of its largest process.
  if (used.peak_memory_bytes) {
    event.Set("maxRssBytes", *used.peak_memory_bytes);
    source.Set("memory", CountedByName(used.memory_by));
  } else if (used.cpu_time) {
    event.Set("maxRssBytes", used.max_resident_bytes);
    source.Set("memory", "rusage, largest process");
  }
  if (used.read_bytes && used.written_bytes) {
    event.Set("readBytes", *used.read_bytes).Set("writtenBytes", *used.written_bytes);
    source.Set("io", CountedByName(used.io_by));
  }
  if (used.disk_bytes) {
    event.Set("diskBytes", *used.disk_bytes);
    source.Set("disk", "supervisor");
  }
  event.Set("source", std::move(source));
  return event;
}

json::Array LimitsRecord(const backends::Outcome& outcome) {
  json::Array list;
  for (const backends::HeldLimit& held : outcome.limits) {
    json::Object item{{"limit", LimitName(held.limit.kind)},
                      {"value", held.limit.value},
                      {"unit", LimitUnit(held.limit.kind)},
                      {"source", LimitSourceName(held.limit.source)},
                      {"heldBy", LimitHolderName(held.holder)}};
    if (!held.note.empty()) item.Set("note", held.note);
    list.emplace_back(std::move(item));
  }
  return list;
}

RunFailure LimitFailure(const backends::PlannedLimit& limit, WallLimit wall) {
  const std::string value = std::to_string(limit.value) + " " + std::string(LimitUnit(limit.kind));
  RunFailure failure{FailureClass::kSessionFailed, std::string(LimitCode(limit.kind)), "", ""};
  switch (limit.kind) {
    case LimitKind::kWall:
      if (wall == WallLimit::kBudget) {
        failure.failure = FailureClass::kBudgetExceeded;
        failure.message = "agent ran longer than its budget allows (" + value + ")";
        failure.hint =
            "raise --timeout (the contract's budget.maxDurationMin), and the policy's ceiling "
            "where "
            "that is what holds it";
      } else {
        failure.message = "agent ran longer than its time-out (" + value + ")";
        failure.hint = "raise the time-out of the contract's execution (timeoutMs)";
      }
      return failure;
    case LimitKind::kCpu:
      failure.message = "agent used more CPU time than it may (" + value + ")";
      failure.hint = Raise(limit, "limits.cpuMs");
      return failure;
    case LimitKind::kMemory:
      failure.message = "agent used more memory than it may (" + value + ")";
      failure.hint = limit.source == backends::LimitSource::kPool
                         ? "give runs more memory: fewer slots, or limits.memoryBytes"
                         : Raise(limit, "limits.memoryBytes");
      return failure;
    case LimitKind::kProcesses:
      failure.message = "agent started more processes and threads than it may (" + value + ")";
      failure.hint = Raise(limit, "limits.processes");
      return failure;
    case LimitKind::kOpenFiles:
      failure.message = "agent opened more files than it may (" + value + ")";
      failure.hint = Raise(limit, "limits.openFiles");
      return failure;
    case LimitKind::kDisk:
      failure.message = "agent wrote more to disk than it may (" + value + ")";
      failure.hint = limit.source == backends::LimitSource::kPool
                         ? "ask for more in the contract (--disk), make room, or have fewer slots"
                         : Raise(limit, "limits.diskBytes");
      return failure;
    case LimitKind::kDiskFiles:
      failure.message = "agent made more files than it may (" + value + ")";
      failure.hint = Raise(limit, "limits.diskFiles");
      return failure;
    case LimitKind::kOutput:
      failure.message = "agent wrote more output than this runner takes (" + value + ")";
      failure.hint = "write less, or raise limits.output.bytes, or let it be cut";
      return failure;
    case LimitKind::kCpuShare:
      failure.message = "agent asked for more CPUs at once than it may have (" + value + ")";
      failure.hint = Raise(limit, "limits.cpuMillis");
      return failure;
    case LimitKind::kIo:
      failure.message = "agent asked for more of a disk than it may have (" + value + ")";
      failure.hint = Raise(limit, "limits.ioBytesPerSecond");
      return failure;
  }
  return failure;
}

}  // namespace writ::runner
