// ProgressMeter: tells of a transfer, at most once a second, from the first second on: what is
// quicker is not told of at all. Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <utility>

#include "writ/base/clock.h"
#include "writ/runner/event_bus.h"

namespace writ::runner {

// Who is told beside the bus; may be empty.
using ProgressListener = std::function<void(const Progress&)>;

class ProgressMeter {
 public:
  static constexpr std::chrono::milliseconds kEvery{1'000};
  ProgressMeter(const EventBus& bus, RunRef run, Progress::Phase phase, const Clock& clock,
                ProgressListener also = {})
      : bus_(bus), run_(run), clock_(clock), also_(std::move(also)), last_(clock.Monotonic()) {
    progress_.phase = phase;
  }
  void Bytes(std::uint64_t more) {
    std::lock_guard lock(mutex_);
    progress_.bytes += more;
    const auto now = clock_.Monotonic();
    if (now - last_ < kEvery) return;
    last_ = now;
    bus_.Publish(ProgressMade{run_, progress_});
    if (also_) also_(progress_);
  }
  // What it measures begins only now.
  void Restart() {
    std::lock_guard lock(mutex_);
    last_ = clock_.Monotonic();
  }
  void File() {
    std::lock_guard lock(mutex_);
    ++progress_.files;
  }

 private:
  const EventBus& bus_;
  RunRef run_;
  const Clock& clock_;
  const ProgressListener also_;
  std::mutex mutex_;  // guards what follows
  std::chrono::nanoseconds last_;
  Progress progress_;
};

}  // namespace writ::runner
