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

struct Usage {
  std::chrono::microseconds user_time{0};
  std::chrono::microseconds system_time{0};
  std::uint64_t max_resident_bytes = 0;  // of the largest single process
  std::uint64_t peak_memory_bytes = 0;   // of the whole job, where a cgroup counted it; else 0
};

struct Outcome {
  enum class Kind {
    kExited,       // by itself; status is there
    kSignalled,    // by a signal that was not ours; status is there
    kTimedOut,     // the wall time-out of the plan or the deadline of Watch
    kCancelled,    // somebody asked
    kDenied,       // the backend refused to start it after Check (state changed in between)
    kViolated,     // ended by a guard (seccomp kill, memory limit)
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
