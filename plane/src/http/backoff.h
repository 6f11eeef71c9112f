// Back-off on failed authentication, per address of the peer. In memory, bounded, thread-safe.
//
// Some failures are free; after them each one doubles the time during which further failures of the
// address are answered "come back later" instead of what was wrong. A quiet spell forgives. A right
// credential is never asked to wait: whoever shares an address with a guesser goes on working, and
// tokens are too long to be guessed.
#pragma once

#include <chrono>
#include <cstddef>
#include <list>
#include <mutex>
#include <string>
#include <unordered_map>

#include "writ/base/clock.h"

namespace writ::plane::http {

class Backoff {
 public:
  explicit Backoff(const Clock& clock) : clock_(clock) {}
  // A wrong credential came from `address`. Zero: it was counted, and is answered as what it is;
  // else how long the address is still to wait.
  std::chrono::milliseconds Failed(const std::string& address);
  std::size_t size() const;

  static constexpr int kFree = 20;
  static constexpr std::size_t kMaxAddresses = 4096;

 private:
  struct Entry {
    std::string address;
    int failures = 0;
    std::chrono::nanoseconds last{0};
    std::chrono::nanoseconds until{0};
  };
  const Clock& clock_;
  mutable std::mutex mutex_;  // guards the two below
  std::list<Entry> entries_;  // most recent first
  std::unordered_map<std::string, std::list<Entry>::iterator> by_address_;
};

}  // namespace writ::plane::http
