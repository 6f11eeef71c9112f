#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "writ/backends/job/launched_job.h"

namespace writ::backends {
namespace {

using Cause = launch::EndedMessage::Cause;

constexpr int kNotFound = 127;
constexpr int kNotExecutable = 126;

void ReadOwnEnd(const launch::EndedMessage& ended, Outcome& outcome) {
  if (!outcome.status) {
    outcome.kind = Outcome::Kind::kLost;
    outcome.reason = "the end of the job's first process was not observed";
    return;
  }
  if (!outcome.status->signalled) {
    outcome.kind = Outcome::Kind::kExited;
    return;
  }
  outcome.kind = Outcome::Kind::kSignalled;
  outcome.reason = "ended by signal " + std::to_string(ended.signal);
  if (ended.signal == SIGSYS) {
    outcome.kind = Outcome::Kind::kViolated;
    outcome.reason = "ended by the system call filter: a foreign system call interface was used";
  }
}

// A program that is missing or cannot be run has the shell's exit codes; that exec failed was
// observed.
void ReadExecFailure(const launch::EndedMessage& ended, Outcome& outcome) {
  const bool missing = ended.exec_errno == ENOENT || ended.exec_errno == ENOTDIR;
  outcome.kind = Outcome::Kind::kExited;
  outcome.status = ExitStatus{false, missing ? kNotFound : kNotExecutable, 0};
  outcome.reason =
      std::string(missing ? "the program was not found: " : "the program cannot be run: ") +
      std::strerror(ended.exec_errno);
}

}  // namespace

Outcome OutcomeOf(const launch::EndedMessage& ended) {
  Outcome outcome;
  if (ended.observed != 0)
    outcome.status = ExitStatus{ended.signalled != 0, ended.code, ended.signal};
  outcome.duration = std::chrono::nanoseconds(std::max<std::uint64_t>(1, ended.duration_ns));
  outcome.refused_total = ended.refused_total;
  outcome.proxied_total = ended.proxied_total;
  Usage& usage = outcome.usage;
  usage.user_time = std::chrono::microseconds(ended.user_us);
  usage.system_time = std::chrono::microseconds(ended.system_us);
  usage.cpu_time = usage.user_time + usage.system_time;
  usage.max_resident_bytes = ended.max_resident_bytes;
  usage.read_bytes = ended.read_bytes;
  usage.written_bytes = ended.written_bytes;
  switch (ended.cause) {
    case Cause::kItself:
      ReadOwnEnd(ended, outcome);
      break;
    case Cause::kExecFailed:
      ReadExecFailure(ended, outcome);
      break;
    case Cause::kTimeOut:
      outcome.kind = Outcome::Kind::kTimedOut;
      outcome.reason = "the job ran longer than its time-out";
      break;
    case Cause::kDeadline:
      outcome.kind = Outcome::Kind::kTimedOut;
      outcome.reason = "the run's deadline passed";
      break;
    case Cause::kCancel:
      outcome.kind = Outcome::Kind::kCancelled;
      outcome.reason = "the job was cancelled";
      break;
    case Cause::kOutputLimit:
      outcome.kind = Outcome::Kind::kOutputLimit;
      outcome.reason = "the job wrote more output than it may";
      break;
    case Cause::kLimitPassed:
      outcome.kind = Outcome::Kind::kViolated;
      outcome.reason = "the job passed one of its limits";
      break;
    case Cause::kMachineEnded:
      outcome.kind = Outcome::Kind::kLost;
      outcome.status.reset();  // what was told by a guest that then failed is no observation
      outcome.reason = ended.note.empty() ? "the job's machine ended" : ended.note;
      break;
    case Cause::kOrphaned:
      outcome.kind = Outcome::Kind::kLost;
      outcome.reason = "the runner went away and the supervisor ended the job";
      break;
  }
  return outcome;
}

std::optional<Error> NoTerminalLeft(std::string_view stage, int err) {
  if (stage != "terminal" || err != ENOSPC) return std::nullopt;
  return Error{ErrorKind::kOverloaded, "job.no_terminal_left",
               "no pseudo terminal is left: the job, or this host, has opened all that it may",
               "end what holds them (sysctl kernel.pty.nr counts the host's), or raise "
               "kernel.pty.max"};
}

Outcome OutcomeOf(const launch::SetupFailedMessage& failed) {
  Outcome outcome;
  outcome.kind = Outcome::Kind::kSetupFailed;
  outcome.duration = std::chrono::nanoseconds(1);
  if (auto none_left = NoTerminalLeft(failed.stage, failed.err)) {
    outcome.reason = none_left->message;
    return outcome;
  }
  outcome.reason = "set-up failed at: " + failed.stage;
  if (failed.err != 0) outcome.reason += " (" + std::string(std::strerror(failed.err)) + ")";
  return outcome;
}

}  // namespace writ::backends
