// Metrics: the numbers of this process, in the Prometheus text format (version 0.0.4). Thread-safe.
//
// A closed set of families (metrics.cc); label values are words of ours, never from outside, so the
// number of series is bounded.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace writ::runner {

enum class Family {
  kRuns,            // {status,failure} counter
  kActive,          // gauge
  kStepSeconds,     // {step} histogram
  kRunSeconds,      // {status} histogram
  kQueueSeconds,    // histogram
  kOffers,          // {fate} counter
  kLeases,          // gauge: held now
  kLeaseEvents,     // {event} counter
  kSlots,           // {state} gauge
  kJournal,         // {state} gauge
  kUploads,         // {result} counter
  kUploadBytes,     // counter
  kProxyDecisions,  // {decision} counter
  kLeaks,           // counter
  kHooks,           // {hook,result} counter
  kHookSeconds,     // {hook} histogram
  kReady,           // gauge
  kDraining,        // gauge
};

class Metrics {
 public:
  using Labels = std::vector<std::pair<std::string_view, std::string_view>>;
  void Add(Family family, const Labels& labels = {}, std::uint64_t by = 1);
  void Set(Family family, const Labels& labels, double value);
  void Observe(Family family, const Labels& labels, std::chrono::milliseconds span);
  std::string Text() const;

 private:
  struct Series {
    double value = 0;  // counter, gauge; of a histogram the sum
    std::uint64_t count = 0;
    std::vector<std::uint64_t> buckets;
  };
  mutable std::mutex mutex_;  // guards series_
  std::map<Family, std::map<std::string, Series>> series_;
};

}  // namespace writ::runner
