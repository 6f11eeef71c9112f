// Engine: claims runs and drives each through its session, one supervising thread per slot.
//
// Use: Create, Start, ... RequestStop, Wait. Stopping drains (L40): no new claim, a long poll in
// flight is given up and an offer declined, runs in work are finished and their receipts delivered;
// a second RequestStop(kCancelRuns) cancels the jobs, whose receipts are delivered still. Before
// each claim, and again before it takes an offer, the engine checks that it could start a session
// (L41). With a plane that has the extension every run is an offer first: noted in the journal,
// then acknowledged (protocol.md section 6). Thread-safe except for Create, Start and the
// destructor, which belong to one owner. The registry and the clock are borrowed and outlive the
// engine.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "writ/base/clock.h"
#include "writ/base/result.h"
#include "writ/runner/config.h"
#include "writ/runner/identity.h"
#include "writ/runner/observer.h"

namespace writ::backends {
class BackendRegistry;
}

namespace writ::runner {

enum class StopMode { kDrain, kCancelRuns };

// When an engine leaves by itself, as if drained.
struct ServeOptions {
  std::optional<std::uint64_t> max_runs{};                    // after so many
  std::optional<std::chrono::milliseconds> exit_when_idle{};  // after so long without one
};

// One thing the runner lacks, for `writ doctor` and for the log.
struct ReadinessProblem {
  std::string code;
  std::string message;
  std::string hint;
  bool blocks_claims = false;  // false: only runs that need it would be refused (a missing agent)
};

// The same look without an engine, beside one that works here or where none ever did: makes
// nothing, locks nothing, changes nothing.
std::vector<ReadinessProblem> LookAtHost(const RunnerConfig& config,
                                         backends::BackendRegistry& registry);

class Engine {
 public:
  // Opens directories and the plane client, takes the lock on state_dir, and closes runs that an
  // earlier process left open. kConflict "runner.locked": another runner works here.
  static Result<std::unique_ptr<Engine>> Create(RunnerConfig config, Identity identity,
                                                backends::BackendRegistry& registry,
                                                const Clock& clock, RunObserver* observer);
  ~Engine();  // RequestStop(kCancelRuns) and Wait
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // What stands in the way, freshly looked at. Changes nothing.
  std::vector<ReadinessProblem> CheckReadiness();

  // A changed configuration while the engine runs. Members of the file that a run reads when it
  // begins (reload.cc has the list) hold for every run that is claimed from now on; runs in work
  // keep what they began with. All other members keep their values, and are named. Errors:
  // CheckRunnerConfig's; then nothing has changed.
  struct Reloaded {
    std::vector<std::string> applied;  // members that changed
    std::vector<std::string> kept;     // members that differ and need a restart
  };
  Result<Reloaded> Reload(const RunnerConfig& next);

  // As many threads as slots, which claim until they are stopped.
  Status Start(ServeOptions options = {});
  void RequestStop(StopMode mode);
  void Wait();  // until every slot has ended and bulk files are deleted

  // After Start: an eventfd that is readable once every slot has ended, asked to or not. Borrowed.
  int ended_fd() const;
  // Why the engine left by itself, where that is trouble: plane.revoked, slots.none.
  std::optional<Error> Trouble() const;
  // A loop that has not turned for longer than it said, for a service manager's watchdog; nullopt
  // where all is well.
  std::optional<std::string> Stuck() const;
  unsigned ActiveRuns() const;

  // Claims and finishes at most one run in the calling thread (--once, `writ run`). nullopt:
  // nothing to do within `wait` (zero: asked once). The value is the run's id; how it ended went to
  // the observer and the receipt.
  Result<std::optional<std::string>> RunOnce(std::chrono::milliseconds wait,
                                             std::stop_token stop = {});

 private:
  struct Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace writ::runner
