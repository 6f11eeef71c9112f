// HeadTail: passes the first bytes of a stream on at once, remembers the last ones, counts the
// rest.
//
// Memory: at most twice tail_bytes. Finish must be called once, after the last Add; then the sink
// has had the head, one OnLeftOut where bytes are missing, and the tail - all in order (L18).
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "writ/backends/outcome.h"
#include "writ/backends/output_sink.h"

namespace writ::backends {

class HeadTail {
 public:
  HeadTail(Stream stream, std::uint64_t head_bytes, std::uint64_t tail_bytes, OutputSink& sink)
      : stream_(stream), head_left_(head_bytes), tail_bytes_(tail_bytes), sink_(sink) {}

  void Add(std::string_view bytes, std::chrono::nanoseconds when);
  void Finish(std::chrono::nanoseconds when);
  const OutputCounters& counters() const { return counters_; }

 private:
  Stream stream_;
  std::uint64_t head_left_;
  std::uint64_t tail_bytes_;
  OutputSink& sink_;
  std::string tail_;  // up to 2 * tail_bytes_ (memory bound), cut back when that is passed
  OutputCounters counters_;
};

}  // namespace writ::backends
