#include "http/backoff.h"

#include <algorithm>

namespace writ::plane::http {
namespace {

constexpr std::chrono::minutes kForgive{10};
constexpr std::chrono::seconds kFirst{1};
constexpr std::chrono::seconds kLongest{60};

}  // namespace

std::chrono::milliseconds Backoff::Failed(const std::string& address) {
  std::lock_guard lock(mutex_);
  const auto now = clock_.Monotonic();
  auto found = by_address_.find(address);
  if (found == by_address_.end()) {
    if (entries_.size() >= kMaxAddresses) {
      by_address_.erase(entries_.back().address);
      entries_.pop_back();
    }
    entries_.push_front({.address = address});
    by_address_[address] = entries_.begin();
  } else {
    entries_.splice(entries_.begin(), entries_, found->second);
  }
  Entry& entry = entries_.front();
  if (now < entry.until) return std::chrono::ceil<std::chrono::milliseconds>(entry.until - now);
  if (entry.failures > 0 && now - entry.last > kForgive) entry.failures = 0;
  entry.last = now;
  ++entry.failures;
  if (entry.failures <= kFree) return std::chrono::milliseconds(0);
  const int doublings = std::min(entry.failures - kFree - 1, 6);
  entry.until = now + std::min<std::chrono::nanoseconds>(kFirst * (1 << doublings), kLongest);
  return std::chrono::milliseconds(0);
}

std::size_t Backoff::size() const {
  std::lock_guard lock(mutex_);
  return entries_.size();
}

}  // namespace writ::plane::http
