// Clock: wall and monotonic time, injected so that tests turn the hands themselves.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace writ {

// Milliseconds since 1970-01-01 UTC, as the protocol's RFC 3339 time stamps carry them.
struct WallTime {
  std::int64_t unix_ms = 0;
  auto operator<=>(const WallTime&) const = default;
  WallTime operator+(std::chrono::milliseconds d) const { return {unix_ms + d.count()}; }
  std::chrono::milliseconds operator-(WallTime other) const {
    return std::chrono::milliseconds(unix_ms - other.unix_ms);
  }
};

// RFC 3339 section 5.6 in UTC with exactly three fraction digits: "2026-06-22T05:05:48.993Z".
std::string FormatRfc3339(WallTime time);
// Reads that form (any number of fraction digits, "Z" or a numeric offset); nullopt for anything
// else.
std::optional<WallTime> ParseRfc3339(std::string_view text);

class Clock {
 public:
  virtual ~Clock() = default;
  virtual WallTime Now() const = 0;
  virtual std::chrono::nanoseconds Monotonic()
      const = 0;  // CLOCK_MONOTONIC; only differences mean anything
};

class SystemClock final : public Clock {
 public:
  WallTime Now() const override;
  std::chrono::nanoseconds Monotonic() const override;
};

// For tests. Thread-safe.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(WallTime start) : now_(start) {}
  WallTime Now() const override;
  std::chrono::nanoseconds Monotonic() const override;
  void Advance(std::chrono::milliseconds d);
  void SetWall(WallTime t);  // a clock that jumps; the monotonic hand stays

 private:
  mutable std::mutex mutex_;  // guards both hands
  WallTime now_;
  std::chrono::nanoseconds monotonic_{0};
};

}  // namespace writ
