// WatchRun: follows a run to its end, printing its output as it happens, and tells the exit code.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "context.h"
#include "requester.h"

namespace CLI {
class App;
}

namespace writ::cli {

class Embedded;

// What is printed when the run has ended: the commands that lead on from it.
struct NextSteps {
  std::string access;      // Access::Arguments of the plane
  std::string repository;  // where `writ pull` should go; empty: where the reader is
};

// What Ctrl-C, SIGTERM and a closed terminal mean: the end of the run (whoever asked for it), or of
// the watching alone. A run that the runner in this process has taken is cancelled either way: it
// ends with the process.
enum class OnInterrupt { kCancelRun, kLeaveRun };

// How long a plane that is away is asked again, where nothing else was said.
inline constexpr std::chrono::minutes kReconnect{5};

struct WatchOptions {
  OnInterrupt on_interrupt = OnInterrupt::kLeaveRun;
  NextSteps next{};
  std::chrono::milliseconds reconnect{kReconnect};
  // The runner in this process: its troubles end the watching too. Borrowed; may be null.
  Embedded* embedded = nullptr;
  // Asked now and then while a run is in work elsewhere: the runner that took it, started again in
  // this process where its own is gone; null where it is not. May be empty.
  std::function<Result<std::unique_ptr<Embedded>>(const plane::RunDetail&)> take_over{};
};

// A plane that does not answer for a while ends nothing: the watching goes on where it was
// (PlaneAway, LiveOutput), and after `reconnect` it ends with kPlaneUnreachable; the run goes on.
// A second signal leaves at once. Returns the exit code of the run, or 128 and the signal's number
// where it was left; with --json prints {"runId","status",...} once at the end.
int WatchRun(Context& context, Requester& requester, const Clock& clock, const std::string& run_id,
             const WatchOptions& options);

// --reconnect of the commands that watch: a duration, "0", or nothing for kReconnect.
void AddReconnect(CLI::App& command, std::string& text);
Result<std::chrono::milliseconds> ParseReconnect(const std::string& text);

}  // namespace writ::cli
