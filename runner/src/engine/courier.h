// Courier: brings to the plane what sessions and earlier processes could not - receipts, and
// collected output that belongs to one - in the order of the claims, with back-off, on a thread of
// its own: new work never waits for it.
//
// What waits is in the journal; the courier keeps nothing. A plane that does not answer ends a
// turn; one that answers for the first run and is in trouble with it does not hold up the others.
// Thread-safe.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <thread>

namespace writ::runner {

struct SessionServices;

class Courier {
 public:
  // `services` outlives it; the first turn begins at once where something waits.
  explicit Courier(SessionServices& services);
  ~Courier();  // gives up a call in flight; what waits stays in the journal
  Courier(const Courier&) = delete;
  Courier& operator=(const Courier&) = delete;

  bool HasWaiting() const;
  void Wake();  // one more waits
  // Until nothing waits, or a turn has failed, or the limit.
  void WaitTurn(std::chrono::milliseconds limit);

 private:
  void Run(std::stop_token stop);
  std::size_t Turn(std::stop_token stop);  // how many wait after it
  SessionServices& services_;
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable_any changed_;
  std::size_t waiting_ = 0;
  bool woken_ = false;
  bool in_turn_ = false;
  std::jthread thread_;
};

}  // namespace writ::runner
