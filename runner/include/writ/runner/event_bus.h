// EventBus: the one way in which a runner tells what happens in it, to whoever listens in this
// process: the log, the metrics, the operator's hooks, and observers (observer.h).
//
// Events are values of a closed set of types. They are published where they happen, in that thread,
// and every subscriber is called before Publish returns, in the order of subscription; several runs
// publish at once, so subscribers lock what they share. They return quickly: a slow one slows the
// run. The exception is HookPoint, which is published at a place where the run waits anyway.
//
// Subscribe belongs to whoever wires the runner, before the first Publish; nobody leaves. What is
// in an event may be shown: no secret, header or body, output only after redaction (L8, L9).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "writ/protocol/json.h"
#include "writ/runner/observer.h"

namespace writ::runner {

// Which run an event is about. Borrowed for the call.
struct RunRef {
  std::string_view run_id;
  unsigned slot = 0;
  std::string_view trace_id{};  // empty: the contract has none
};

// One of the points of a session's life was reached.
struct StepReached {
  RunRef run;
  Step step = Step::kClaimed;
  std::chrono::milliseconds took{0};  // since the point before it
  // At kClaimed, where the plane's events tell: from the request to the claim, by its clock.
  std::optional<std::chrono::milliseconds> queued{};
};
struct OutputSeen {
  RunRef run;
  std::string_view redacted;
};
// At most once a second per phase, and once when the phase ends having shown anything.
struct ProgressMade {
  RunRef run;
  Progress progress;
};
struct RunOver {
  RunRef run;
  RunEnd end;
  std::chrono::milliseconds took{0};  // since it was claimed
};

enum class OfferFateWord { kOffered, kTaken, kDeclined, kGone, kInDoubt };
struct OfferSeen {
  RunRef run;
  OfferFateWord fate = OfferFateWord::kOffered;
};
enum class LeaseWord { kHeld, kSilent, kEnded, kForgotten, kRevoked, kLetGo };
struct LeaseSeen {
  RunRef run;
  LeaseWord state = LeaseWord::kHeld;
};
struct ProxyDecided {
  RunRef run;
  std::uint64_t allowed = 0, denied = 0;  // flows, when the session's proxy has closed
};
enum class UploadWord { kSent, kKnown, kFailed };  // kKnown: the plane had it
struct BlobUploaded {
  RunRef run;
  std::uint64_t bytes = 0;
  UploadWord how = UploadWord::kSent;
};
struct LeaksFound {
  RunRef run;
  std::size_t count = 0;
};
// The machine of the run's job stands still from now on, or goes on.
struct StillnessSeen {
  RunRef run;
  bool paused = false;
};
struct DrainBegun {};

// The operator's hooks (hooks.h). A hook before something may veto it; the others cannot (L44).
enum class HookKind { kBeforeClaim, kBeforeRun, kAfterRun, kOnDrain };
inline constexpr HookKind kAllHooks[] = {HookKind::kBeforeClaim, HookKind::kBeforeRun,
                                         HookKind::kAfterRun, HookKind::kOnDrain};
std::string_view HookName(HookKind kind);  // "before-claim"
inline constexpr bool MayVeto(HookKind kind) {
  return kind == HookKind::kBeforeClaim || kind == HookKind::kBeforeRun;
}

// How one hook went.
struct HookRecord {
  HookKind hook = HookKind::kBeforeRun;
  std::optional<int> exit_code{};  // nullopt: not observed - a signal, the deadline, no start
  std::chrono::milliseconds took{0};
  bool veto = false;
  std::string why{};  // one sentence, where it did not end with 0
};
// Filled by those who answer at a HookPoint; made and read by whoever published it.
struct Gate {
  std::vector<HookRecord> records;
  const HookRecord* veto() const;  // the first, or nullptr
};
struct HookPoint {
  HookKind hook = HookKind::kBeforeRun;
  RunRef run;         // empty run_id: about no run
  json::Value facts;  // what the hook is told, beside who and when
  // Takes the values of the run's secrets out of what a hook prints, before it is logged.
  std::function<std::string(std::string_view)> redact;
  std::optional<std::chrono::milliseconds> at_most;  // below the hook's own deadline
  Gate* gate = nullptr;                              // never null
};
struct HookEnded {
  RunRef run;
  HookRecord record;
};

using LifeEvent =
    std::variant<StepReached, OutputSeen, ProgressMade, RunOver, OfferSeen, LeaseSeen, ProxyDecided,
                 BlobUploaded, LeaksFound, DrainBegun, HookPoint, HookEnded, StillnessSeen>;

class EventBus {
 public:
  using Handler = std::function<void(const LifeEvent&)>;
  EventBus() = default;
  EventBus(const EventBus&) = delete;
  EventBus& operator=(const EventBus&) = delete;

  void Subscribe(Handler handler) { handlers_.push_back(std::move(handler)); }
  void Publish(const LifeEvent& event) const {
    for (const Handler& handler : handlers_) handler(event);
  }

 private:
  std::vector<Handler> handlers_;
};

// `observer` is borrowed and outlives the bus; null: nobody.
void SubscribeObserver(EventBus& bus, RunObserver* observer);
// The log's own view: steps at debug, progress and hooks at info, leaks as errors.
void SubscribeLog(EventBus& bus);

}  // namespace writ::runner
