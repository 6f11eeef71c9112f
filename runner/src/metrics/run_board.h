// RunBoard: what the event bus told, kept for those who ask: the metrics, and which runs are in
// work at which step. Thread-safe.
#pragma once

#include <chrono>
#include <map>
#include <mutex>
#include <string>

#include "metrics/metrics.h"
#include "writ/base/clock.h"
#include "writ/protocol/json.h"
#include "writ/runner/event_bus.h"

namespace writ::runner {

class RunBoard {
 public:
  explicit RunBoard(const Clock& clock);
  // The board outlives the bus.
  void ListenTo(EventBus& bus);

  Metrics& metrics() { return metrics_; }
  bool draining() const;
  // [{runId,slot,step,stepMs,runMs,lease?,pausedMs?}], oldest first.
  json::Value Runs() const;

 private:
  struct Entry {
    unsigned slot = 0;
    Step step = Step::kClaimed;
    std::chrono::nanoseconds begun{0}, step_at{0};
    std::string lease;  // empty: none
    std::optional<std::chrono::nanoseconds> paused_at;
  };
  void On(const StepReached& event);
  void On(const RunOver& event);
  void On(const OfferSeen& event);
  void On(const LeaseSeen& event);
  void On(const ProxyDecided& event);
  void On(const BlobUploaded& event);
  void On(const LeaksFound& event);
  void On(const DrainBegun& event);
  void On(const StillnessSeen& event);
  void On(const HookEnded& event);
  template <typename Other>
  void On(const Other&) {}
  void ShowGauges();  // with mutex_ held

  const Clock& clock_;
  Metrics metrics_;
  mutable std::mutex mutex_;  // guards what follows
  std::map<std::string, Entry, std::less<>> runs_;
  bool draining_ = false;
};

}  // namespace writ::runner
