// OutputSink: receives what a job writes, byte-exact and in order (L18).
//
// Called by the thread that is in Job::Watch, never concurrently, and never again after Watch has
// returned. A slow sink slows the job (its pipe fills); it loses nothing.
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

namespace writ::backends {

enum class Stream { kStdout, kStderr };

class OutputSink {
 public:
  virtual ~OutputSink() = default;
  // `bytes` are valid during the call. `when` is CLOCK_MONOTONIC at reading.
  virtual void OnOutput(Stream stream, std::string_view bytes, std::chrono::nanoseconds when) = 0;
  // Between head and tail `bytes` bytes of the stream were left out; comes at most once per stream,
  // after the head and before the tail.
  virtual void OnLeftOut(Stream stream, std::uint64_t bytes) = 0;
};

}  // namespace writ::backends
