// MetricSet: the numbers of a process, in the Prometheus text format (version 0.0.4). Thread-safe.
//
// A closed set of families; label values are words of the program, never from outside, so the
// number of series is bounded.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace writ::status {

enum class MetricType { kCounter, kGauge, kHistogram };
struct MetricFamily {
  const char* name;
  const char* help;
  MetricType type;
};
using Labels = std::vector<std::pair<std::string_view, std::string_view>>;

class MetricSet {
 public:
  // `families` is borrowed and outlives the set; the place in it names a family.
  explicit MetricSet(std::span<const MetricFamily> families) : families_(families) {}
  void Add(std::size_t family, const Labels& labels, std::uint64_t by);
  void Set(std::size_t family, const Labels& labels, double value);
  void Observe(std::size_t family, const Labels& labels, std::chrono::milliseconds span);
  std::string Text() const;

 private:
  struct Series {
    double value = 0;  // counter, gauge; of a histogram the sum
    std::uint64_t count = 0;
    std::vector<std::uint64_t> buckets;
  };
  const std::span<const MetricFamily> families_;
  mutable std::mutex mutex_;  // guards series_
  std::map<std::size_t, std::map<std::string, Series>> series_;
};

// The same with an enumeration for the families, in the order of the table.
template <typename Family>
class Metrics {
 public:
  explicit Metrics(std::span<const MetricFamily> families) : set_(families) {}
  void Add(Family family, const Labels& labels = {}, std::uint64_t by = 1) {
    set_.Add(static_cast<std::size_t>(family), labels, by);
  }
  void Set(Family family, const Labels& labels, double value) {
    set_.Set(static_cast<std::size_t>(family), labels, value);
  }
  void Observe(Family family, const Labels& labels, std::chrono::milliseconds span) {
    set_.Observe(static_cast<std::size_t>(family), labels, span);
  }
  std::string Text() const { return set_.Text(); }

 private:
  MetricSet set_;
};

}  // namespace writ::status
