// What the page server counts for one clone.
//
// Prefetch is measured by leaving leaves (64 KiB) out, as pages are recorded by leaves: of those
// that are to be prefetched about one in kSampleEvery, by chance, is not, and whether the guest
// comes to fault on it is seen. A page that was placed never tells whether it was used, so this is
// the only measure that works for every VMM and without rights over it. hits = prefetched_pages *
// sampled_touched / sampled, waste is the rest.
#pragma once

#include <array>
#include <cstdint>

namespace writ::backends::microvm::pages {

inline constexpr std::size_t kLatencyBuckets = 24;
inline constexpr std::uint64_t kSampleEvery = 128;

struct FaultCounters {
  std::uint64_t faults = 0;            // answered
  std::uint64_t bytes_file = 0;        // placed for faults, with what lies around them
  std::uint64_t bytes_zero = 0;        // the same, zero pages: nothing was read or copied
  std::uint64_t bytes_prefetched = 0;  // placed ahead of faults, zero pages too
  std::uint64_t prefetched_pages = 0;
  std::uint64_t sampled = 0;  // leaves of the working set that were left out
  std::uint64_t sampled_touched = 0;
  std::uint64_t present = 0;        // faults whose page was there already (woken)
  std::uint64_t again = 0;          // placements put off because memory was being removed
  std::uint64_t removed_pages = 0;  // by the VMM: zero from then on
  std::uint64_t hashed_leaves = 0;  // of the whole snapshot so far, by whatever clone
  // Reading of a fault to its answer; bucket i counts those under 2^i microseconds, the last one
  // all others.
  std::array<std::uint64_t, kLatencyBuckets> latency{};
  bool operator==(const FaultCounters&) const = default;
};

// Of `prefetched_pages`, as measured; 0 where nothing was sampled.
inline std::uint64_t PrefetchHits(const FaultCounters& c) {
  return c.sampled == 0 ? 0 : c.prefetched_pages * c.sampled_touched / c.sampled;
}

}  // namespace writ::backends::microvm::pages
