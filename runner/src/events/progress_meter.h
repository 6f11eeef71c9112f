// ProgressMeter: tells of a transfer, at most once a second, from the first second on: what is
// quicker than that is not told of at all. One thread.
#pragma once

#include <chrono>
#include <cstdint>

#include "writ/base/clock.h"
#include "writ/runner/event_bus.h"

namespace writ::runner {

class ProgressMeter {
 public:
  static constexpr std::chrono::milliseconds kEvery{1'000};
  ProgressMeter(const EventBus& bus, RunRef run, Progress::Phase phase, const Clock& clock)
      : bus_(bus), run_(run), clock_(clock), last_(clock.Monotonic()) {
    progress_.phase = phase;
  }
  void Bytes(std::uint64_t more) {
    progress_.bytes += more;
    const auto now = clock_.Monotonic();
    if (now - last_ < kEvery) return;
    last_ = now;
    bus_.Publish(ProgressMade{run_, progress_});
  }
  void File() { ++progress_.files; }

 private:
  const EventBus& bus_;
  RunRef run_;
  const Clock& clock_;
  std::chrono::nanoseconds last_;
  Progress progress_;
};

}  // namespace writ::runner
