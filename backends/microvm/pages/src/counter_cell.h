// CounterCells: FaultCounters that one thread adds to and others read.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>

#include "writ/backends/microvm/pages/counters.h"

namespace writ::backends::microvm::pages {

// One writer: no read-modify-write is needed.
class CounterCell {
 public:
  void Add(std::uint64_t more) {
    value_.store(value_.load(std::memory_order_relaxed) + more, std::memory_order_relaxed);
  }
  std::uint64_t Read() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

struct CounterCells {
  CounterCell faults, bytes_file, bytes_zero, bytes_prefetched, prefetched_pages, sampled,
      sampled_touched, present, again, removed_pages;
  std::array<CounterCell, kLatencyBuckets> latency;

  void Answered(std::chrono::nanoseconds took) {
    faults.Add(1);
    const auto us = static_cast<std::uint64_t>(took.count()) / 1000;
    latency[std::min<std::size_t>(std::bit_width(us), kLatencyBuckets - 1)].Add(1);
  }
  FaultCounters Read() const {
    FaultCounters out;
    out.faults = faults.Read();
    out.bytes_file = bytes_file.Read();
    out.bytes_zero = bytes_zero.Read();
    out.bytes_prefetched = bytes_prefetched.Read();
    out.prefetched_pages = prefetched_pages.Read();
    out.sampled = sampled.Read();
    out.sampled_touched = sampled_touched.Read();
    out.present = present.Read();
    out.again = again.Read();
    out.removed_pages = removed_pages.Read();
    for (std::size_t i = 0; i < kLatencyBuckets; ++i) out.latency[i] = latency[i].Read();
    return out;
  }
};

}  // namespace writ::backends::microvm::pages
