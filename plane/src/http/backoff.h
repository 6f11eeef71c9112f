// Back-off on failed authentication, per address of the peer. In memory, bounded, thread-safe.
//
// Some failures are free; after them each one doubles the time during which the address is not
// listened to. A quiet spell forgives.
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
  // How long the address has still to wait; zero: it may try.
  std::chrono::milliseconds Wait(const std::string& address);
  void Failed(const std::string& address);
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
