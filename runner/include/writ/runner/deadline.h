// Deadline: the one absolute end of an operation, on the monotonic clock (L17, L19).
//
// It is made once, at the top, and handed down: nested retries ask it how much is left and cannot
// multiply it.
#pragma once

#include <algorithm>
#include <chrono>
#include <string>

#include "writ/base/clock.h"

namespace writ::runner {

class Deadline {
 public:
  static Deadline After(const Clock& clock, std::chrono::milliseconds span) {
    return Deadline(clock, clock.Monotonic(), span);
  }
  std::chrono::milliseconds Left() const {
    return std::max(std::chrono::milliseconds(0), span_ - Spent());
  }
  // Measured, for error texts.
  std::chrono::milliseconds Spent() const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(clock_->Monotonic() - begin_);
  }
  bool Passed() const { return Left().count() == 0; }

 private:
  Deadline(const Clock& clock, std::chrono::nanoseconds begin, std::chrono::milliseconds span)
      : clock_(&clock), begin_(begin), span_(span) {}
  const Clock* clock_;
  std::chrono::nanoseconds begin_;
  std::chrono::milliseconds span_;
};

}  // namespace writ::runner
