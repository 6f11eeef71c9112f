#include "writ/base/backoff.h"

#include <sys/random.h>

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace writ {
namespace {

std::int64_t RandomBelow(std::int64_t bound) {
  std::uint64_t value = 0;
  if (bound <= 0 || getrandom(&value, sizeof value, 0) != static_cast<ssize_t>(sizeof value))
    return 0;
  return static_cast<std::int64_t>(value % static_cast<std::uint64_t>(bound));
}

}  // namespace

std::chrono::milliseconds Backoff::Next() {
  auto span = next_;
  next_ = std::min(next_ * 2, most_);
  return std::chrono::milliseconds(1 + RandomBelow(span.count()));
}

bool Backoff::Pause(std::chrono::milliseconds span, std::stop_token stop) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  wake.wait_for(lock, stop, span, [] { return false; });
  return !stop.stop_requested();
}

std::chrono::milliseconds Backoff::Jittered(std::chrono::milliseconds span) {
  return span / 2 + std::chrono::milliseconds(RandomBelow(span.count() + 1));
}

}  // namespace writ
