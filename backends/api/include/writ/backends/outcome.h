// Outcome: how a job ended. A failing job is not an Error; an Error is a step of ours that failed.
//
// *Kind* says who ended it, *reason* says in a sentence why; the first verdict wins. An exit status
// is there only where it was observed (L17); durations are monotonic and greater than zero.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/backends/limits.h"
#include "writ/base/child.h"

namespace writ::backends {

struct OutputCounters {
  std::uint64_t seen = 0;      // bytes the job wrote
  std::uint64_t kept = 0;      // bytes given to the sink
  std::uint64_t left_out = 0;  // seen - kept
};

// A connection the job tried and the kernel refused on our behalf (L25). Bounded: the first
// kMaxRefusedRecords are kept, all are counted.
struct RefusedConnect {
  pid_t pid = 0;
  std::string program;  // comm of the process, printable bytes only
  std::string address;  // "203.0.113.7:443", "[2001:db8::1]:53", "unix", "family 40"
  std::string reason;   // "not the session's proxy", "not a TCP socket", ...
};
inline constexpr std::size_t kMaxRefusedRecords = 64;

// What a job used, as far as somebody counted it: unknown is absent, never 0.
struct Usage {
  // Who counted: a cgroup covers every process; "rusage" those that were waited for.
  enum class CountedBy { kRusage, kCgroupV1, kCgroupV2 };
  std::optional<std::chrono::microseconds> cpu_time;  // user and system, of the whole tree
  CountedBy cpu_by = CountedBy::kRusage;
  std::chrono::microseconds user_time{0};  // rusage; these three only where cpu_time is there
  std::chrono::microseconds system_time{0};
  std::uint64_t max_resident_bytes = 0;            // of the largest single process
  std::optional<std::uint64_t> peak_memory_bytes;  // of the whole job, where a cgroup counted it
  CountedBy memory_by = CountedBy::kRusage;        // of peak_memory_bytes
  std::optional<std::uint64_t> read_bytes;         // from and to disks
  std::optional<std::uint64_t> written_bytes;
  CountedBy io_by = CountedBy::kRusage;
  std::optional<std::uint64_t> disk_bytes;  // the most that was seen in its places; blocks
  std::optional<std::uint64_t> disk_files;
};
std::string_view CountedByName(Usage::CountedBy by);  // "rusage", "cgroup-v1", "cgroup-v2"

struct Outcome {
  enum class Kind {
    kExited,       // by itself; status is there
    kSignalled,    // by a signal that was not ours; status is there
    kTimedOut,     // the wall time-out of the plan or the deadline of Watch
    kCancelled,    // somebody asked
    kDenied,       // the backend refused to start it after Check (state changed in between)
    kViolated,     // ended by a guard: seccomp kill, or a limit of its own (`limit` is there)
    kSetupFailed,  // never ran: see reason
    kOutputLimit,  // wrote more than OutputLimits::end_job_over_bytes
    kLost,         // we no longer know: supervisor gone without a word
  };
  Kind kind = Kind::kLost;
  std::string reason;                // one sentence; may be empty for kExited
  std::optional<ExitStatus> status;  // of the job's first process, only if observed
  std::chrono::nanoseconds duration{0};
  OutputCounters out;  // stdout, or both where merged
  OutputCounters err;
  std::vector<RefusedConnect> refused;
  std::uint64_t refused_total = 0;
  std::uint64_t proxied_total = 0;  // connections made for the job, all to its proxy
  Usage usage;
  std::optional<PlannedLimit> limit;  // the one that ended the run
  std::vector<HeldLimit> limits;      // all that were set, and what held each
};

// "exited", "signalled", "timed_out", "cancelled", "denied", "violated", "setup_failed",
// "output_limit", "lost".
std::string_view OutcomeKindName(Outcome::Kind kind);

// Something that should be gone and is not (receipt: session.closed{leaks}).
struct Leak {
  std::string kind;  // "process", "cgroup", "directory", "listener"
  std::string what;
};

struct Dismantled {
  bool tree_dead_verified = false;  // no descendant of the job is left, as told by the kernel
  std::vector<Leak> leaks;          // empty: everything the backend made is gone
  std::vector<std::string> errors;  // steps that failed; every step was tried (L37)
};

}  // namespace writ::backends
