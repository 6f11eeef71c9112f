// Hooks: executables of the operator that a runner starts at four points.
//
//   before-claim  a run is offered (or, at a plane that offers none, is about to be asked for): a
//                 veto declines it, or asks for none this time
//   before-run    the contract is verified and planned, nothing is fetched yet: a veto ends the run
//                 as policy_denied
//   after-run     the isolation is dismantled, the receipt is not signed yet: cannot veto
//   on-drain      the runner claims no more: cannot veto
//
// A hook gets one JSON object on standard input (docs/operations.md), no secret in it, and exits
// with 0 for "go". It runs as the runner's user with an environment of four variables, in "/", for
// at most its deadline; then it and everything it has started are killed, daemons too (L44). What
// it prints is bounded, redacted, and goes to the log. How it ended stands in the chain as
// `hook.result`.
//
// The configuration names a file that only root or the runner's user can change: it is checked when
// the configuration is, and again before each start.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "writ/base/result.h"
#include "writ/runner/event_bus.h"

namespace writ::runner {

enum class HookFailure { kVeto, kIgnore };

struct HookSpec {
  std::string path;  // absolute
  std::vector<std::string> args{};
  std::chrono::milliseconds deadline{30'000};
  // What it means where the hook does not exit with 0; kVeto only before something.
  HookFailure failure = HookFailure::kVeto;
};
using HookTable = std::map<HookKind, HookSpec>;

// A regular, executable file whose every folder and itself belong to root or to us and cannot be
// written by others (a folder with the sticky bit can). kDenied "hook.unsafe".
Status CheckHookFile(const std::string& path);

// Answers the HookPoints of `bus` for which `hooks` has one at that moment, and publishes
// HookEnded. `runner_id` and `pool` are told to every hook. The bus is borrowed.
struct HookHost {
  std::string runner_id;
  std::string pool;
  std::string warden;  // absolute path of writ-launch, beneath which hooks run
};
void SubscribeHooks(EventBus& bus, std::function<HookTable()> hooks, HookHost host);

}  // namespace writ::runner
