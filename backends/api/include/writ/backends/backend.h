// Backend and Job: one way to run jobs, and one job.
//
// The order is fixed: Backend::Check (pure) -> Prepare -> [TakeProxyListener] -> Start -> Watch ->
// Dismantle. Each step registers its undo as it acquires (L37); destroying a Job at any point ends
// the tree and removes what was made, but only Dismantle tells whether that worked.
// Threads: a Backend is thread-safe and outlives its Jobs; a Job belongs to one supervising thread
// (Cancel through WatchOptions may come from any).
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "writ/backends/capability.h"
#include "writ/backends/entry.h"
#include "writ/backends/outcome.h"
#include "writ/backends/output_sink.h"
#include "writ/backends/plan.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends {

struct WatchOptions {
  std::stop_token stop;  // request_stop cancels the job: SIGTERM, the plan's grace, SIGKILL
  std::stop_token kill;  // ends it at once, without the grace
  int cancel_fd = -1;    // borrowed; readable cancels the job (not drained); -1 = none
  // CLOCK_MONOTONIC; the plan's wall time-out holds beside it, the earlier one ends the job.
  std::optional<std::chrono::steady_clock::time_point> deadline;
  // Called from the watching thread for each refused connection as it is recorded. May be empty.
  std::function<void(const RefusedConnect&)> on_refused_connect;
};

// A machine starts from a snapshot, or cold: its kernel boots.
struct MachineStart {
  // Of one that starts from a snapshot. kCopied: all of it was compared with the snapshot's
  // manifest before the machine ran. kServed: by a page server, each piece before the machine first
  // saw a byte of it; what no machine touched was not looked at.
  enum class Memory { kCopied, kServed };
  std::string snapshot;      // digest of the manifest, "sha256:..."; empty: cold
  bool pooled = false;       // restored before its run came, and kept paused for it
  std::string not_restored;  // cold: why not from a snapshot that there is; empty: there is none
  Memory memory = Memory::kCopied;
  std::string not_served{};  // why no page server was used for a snapshot that there is
};

class Job {
 public:
  virtual ~Job() = default;

  // The listener at which the job reaches its proxy, made before the start; given away once
  // (kConflict the second time, kUnsupported where the plan has no proxy). Loopback TCP in the
  // process tier, inside the job's own namespace in the higher ones.
  virtual Result<UniqueFd> TakeProxyListener() = 0;
  // "127.0.0.1:40123": where the job finds the proxy. Empty where the plan has no proxy.
  virtual std::string ProxyAddress() const = 0;
  // Absolute paths as the job sees them.
  virtual std::string HomePath() const = 0;
  virtual std::string WorkspacePath() const = 0;
  // What its backend had found when it was prepared; nullptr: what Probe says.
  virtual const Capabilities* PreparedWith() const { return nullptr; }
  // The digest of the image that the job runs in, "sha256:..."; empty where it has none.
  virtual std::string RootImage() const { return {}; }
  // How the machine of a job that has one came to be; nothing where it has none.
  virtual std::optional<MachineStart> StartOfMachine() const { return std::nullopt; }

  // Starts the job; `late` is what could not be known before Prepare (proxy URL with its token, CA
  // paths, secrets just released) and goes on top of Plan::env. Returns when the job's program
  // runs, or with the stage and errno that failed. A program that is not found or not executable is
  // not an error: Watch reports exit 127 or 126.
  virtual Status Start(Environment late) = 0;

  // Blocks until the whole tree is dead and all its output is in `sink`. Call once, after Start
  // (after a failed Start it returns kSetupFailed at once).
  virtual Outcome Watch(OutputSink& sink, const WatchOptions& options) = 0;

  // Puts something beside the running job, and returns when it runs; from any thread, between
  // Start and the end of Watch, which has to be running. kDenied where the plan has no EntryGrant,
  // kUnsupported where the tier has no way, kConflict where the job does not run (any more). A
  // program that is not found is no error (EntryEnd).
  virtual Result<std::unique_ptr<Entry>> Enter(EntryPlan) {
    return Error{ErrorKind::kUnsupported, "job.no_entry",
                 "this tier has no way into a running session"};
  }
  // The same for the job's own terminal, where the plan has one.
  virtual Result<std::unique_ptr<TerminalInput>> OpenTerminalInput() {
    return Error{ErrorKind::kUnsupported, "job.no_terminal", "the job has no terminal"};
  }

  // Where Capabilities::pause: the job stands still with all that it has in memory, and goes on
  // with the time set again; from any thread, while Watch runs. Its wall time-out goes on
  // meanwhile, and an end that is asked for lets it go on for its grace. What cannot be brought
  // back is destroyed, and Watch tells of it. kUnsupported where the tier cannot, kConflict where
  // it is so already or the job does not run (any more), kUnavailable where it has not answered
  // within a bound.
  virtual Status Pause() { return CannotPause(); }
  virtual Status Resume() { return CannotPause(); }

  // What its runner writes down before Start, so that this job can be ended should the runner die:
  // text that only the backend reads (LeftJob). Empty: Recover needs nothing of the sort.
  virtual std::string Leftovers() const { return {}; }

  // Ends what still runs and removes what was made: processes, cgroups, private directories,
  // listener. Tries every step. Idempotent; the second call returns the first one's answer.
  virtual Dismantled Dismantle() = 0;

 private:
  static Error CannotPause() {
    return Error{ErrorKind::kUnsupported, "job.no_pause",
                 "a job of this tier cannot be made to stand still",
                 "run it in a machine: --isolation microvm"};
  }
};

// A job of an earlier process, as its runner wrote it down.
struct LeftJob {
  std::string run_id;
  std::string session_dir;
  Identity identity;      // what jobs of its slot have now; `leftovers` may know better
  std::string leftovers;  // Job::Leftovers; empty: the job was not started
};

// What became of it, at the next start (L38).
struct Recovered {
  std::optional<Outcome>
      outcome;  // what the supervisor wrote down before it left; nullopt: nothing known
  Dismantled dismantled;
  std::optional<uid_t> uid{};  // that the job had, and what is left of it has; nullopt: not known
};

// Machines that are restored ahead of their runs and wait, paused.
struct WaitingMachines {
  unsigned wanted = 0;  // of each snapshot, as configured
  unsigned waiting = 0;
  std::uint64_t memory_bytes = 0;  // of those that wait, at most
  std::uint64_t memory_budget_bytes = 0;
  std::uint64_t max_age_seconds = 0;
  std::uint64_t hits = 0;       // runs that got one
  std::uint64_t misses = 0;     // runs that could have had one
  std::uint64_t discarded = 0;  // that no run got: too old, of another snapshot, dead
  std::string trouble;          // why there are fewer than wanted; empty: nothing is in the way
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view Name() const = 0;
  virtual Tier GetTier() const = 0;

  // Tries what this host can do. Leaves nothing behind. Cached after the first call; what a call
  // has returned stays as it is for the backend's life.
  virtual const Capabilities& Probe() = 0;

  // Tries again: for Probe and for jobs that are prepared from now on. Those that are there keep
  // what they were prepared with.
  virtual const Capabilities& ProbeAgain() { return Probe(); }

  // Whether what Probe found is still there, cheaply: asked before each claim (L41). kUnavailable
  // with what went away.
  virtual Status Alive() { return {}; }

  // Nothing: it keeps none.
  virtual std::optional<WaitingMachines> Waiting() { return std::nullopt; }
  // The configuration was read again: what waits was made for the one before.
  virtual void ForgetWaiting() {}

  // Whether this backend meets the whole plan: kInvalid (the plan is wrong anywhere), kUnsupported
  // (not on this host or tier: capability_mismatch). Never adapts the plan (L4).
  virtual Status Check(const Plan& plan) = 0;

  // What Prepare and Start would do for the plan, as canonical JSON, without doing any of it; no
  // secret values. Errors are Check's. "null": nothing but the plan itself.
  virtual Result<std::string> PrintPlan(const Plan& plan) {
    WRIT_TRY(Check(plan));
    return std::string("null");
  }

  virtual Result<std::unique_ptr<Job>> Prepare(Plan plan) = 0;

  // Ends and removes what is left of a run of an earlier process. Waits for its supervisor, which
  // ends the tree by itself, at most `timeout`; one that does not leave is killed - by pid and
  // start time, within the same boot, never by a bare pid - and then the tree is looked for. A tree
  // whose end nobody wrote down is never called dead without that look (L37). A session directory
  // that is not there any more is gone, no leak; one that cannot be looked into is an error. May be
  // called again for the same run, and then looks again.
  virtual Result<Recovered> Recover(const LeftJob& left, std::chrono::milliseconds timeout) = 0;
};

}  // namespace writ::backends
