// QueueSignals: wakes runners that wait for a run, by pool. Thread-safe.
//
// A run that was queued wakes two of its pool's waiting runners and not all of them: with hundreds
// that wait, looking is what costs. One that is not woken looks by itself within a slice
// (change_signal.h), so a run is never overlooked because those two could not take it.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "change_signal.h"

namespace writ::plane {

class QueueSignals {
 public:
  // Lives as long as this. Of a pool that a runner is enrolled in, so there are not many.
  ChangeSignal& Of(std::string_view pool) {
    std::lock_guard lock(mutex_);
    auto [at, fresh] = signals_.try_emplace(std::string(pool));
    if (fresh && interrupted_) at->second.Interrupt();
    return at->second;
  }
  // A run of the pool can be had.
  void Notify(std::string_view pool) {
    std::lock_guard lock(mutex_);
    if (auto at = signals_.find(pool); at != signals_.end()) at->second.NotifySome();
  }
  // Every runner that waits is to look again.
  void NotifyAll() {
    std::lock_guard lock(mutex_);
    for (auto& [pool, signal] : signals_) signal.Notify();
  }
  void Interrupt() {
    std::lock_guard lock(mutex_);
    interrupted_ = true;
    for (auto& [pool, signal] : signals_) signal.Interrupt();
  }

 private:
  std::mutex mutex_;  // guards both below
  std::map<std::string, ChangeSignal, std::less<>> signals_;
  bool interrupted_ = false;
};

}  // namespace writ::plane
