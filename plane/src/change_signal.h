// ChangeSignal: wakes those who wait for a change of the plane's state. Thread-safe.
//
// Another process may change the same store, so nobody waits longer than a slice without looking
// again.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace writ::plane {

class ChangeSignal {
 public:
  using Moment = std::chrono::steady_clock::time_point;

  std::uint64_t Generation() const {
    std::lock_guard lock(mutex_);
    return generation_;
  }
  void Notify() {
    {
      std::lock_guard lock(mutex_);
      ++generation_;
    }
    changed_.notify_all();
  }
  // Wakes two of those who wait; the others look with their next slice.
  void NotifySome() {
    {
      std::lock_guard lock(mutex_);
      ++generation_;
    }
    changed_.notify_one();
    changed_.notify_one();
  }
  // For good: every wait returns at once from now on.
  void Interrupt() {
    {
      std::lock_guard lock(mutex_);
      interrupted_ = true;
    }
    changed_.notify_all();
  }
  // Returns when there was a change since `seen`, after a slice, or at `deadline`; false when it is
  // of no use to wait again (deadline over or interrupted).
  bool WaitSlice(std::uint64_t seen, Moment deadline) const {
    constexpr auto kSlice = std::chrono::milliseconds(200);
    std::unique_lock lock(mutex_);
    auto now = std::chrono::steady_clock::now();
    if (interrupted_ || now >= deadline) return false;
    changed_.wait_until(lock, std::min(deadline, now + kSlice),
                        [&] { return generation_ != seen || interrupted_; });
    return !interrupted_;
  }

 private:
  mutable std::mutex mutex_;  // guards both below
  mutable std::condition_variable changed_;
  std::uint64_t generation_ = 0;
  bool interrupted_ = false;
};

}  // namespace writ::plane
