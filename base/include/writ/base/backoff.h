// Backoff: how long to wait before the next attempt. Exponential with full jitter, so that many
// runners of one plane do not come back in step. Pause ends early when the stop token fires.
#pragma once

#include <chrono>
#include <stop_token>

namespace writ {

class Backoff {
 public:
  explicit Backoff(std::chrono::milliseconds first = std::chrono::milliseconds(100),
                   std::chrono::milliseconds most = std::chrono::milliseconds(5000))
      : next_(first), most_(most) {}
  std::chrono::milliseconds Next();
  // False where the stop token fired.
  static bool Pause(std::chrono::milliseconds span, std::stop_token stop);
  // `span` plus or minus up to half of it.
  static std::chrono::milliseconds Jittered(std::chrono::milliseconds span);

 private:
  std::chrono::milliseconds next_;
  std::chrono::milliseconds most_;
};

}  // namespace writ
