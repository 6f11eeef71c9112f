// LogCapture: what the job writes becomes its log - redacted first, then cut to head and tail (L9,
// L18).
//
// The cut is behind the redaction, so it cannot leave half a secret. Live output (observer, plane)
// is the redacted stream. Called by the watching thread; TakeLive by the heartbeat's.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "writ/backends/head_tail.h"
#include "writ/backends/output_sink.h"
#include "writ/runner/redactor.h"

namespace writ::runner {

class LogCapture final : public backends::OutputSink {
 public:
  using Live = std::function<void(std::string_view)>;
  LogCapture(const Redactor& redactor, std::uint64_t limit_bytes, Live live);
  ~LogCapture() override;

  void OnOutput(backends::Stream stream, std::string_view bytes,
                std::chrono::nanoseconds when) override;
  void OnLeftOut(backends::Stream stream, std::uint64_t bytes) override;

  struct Log {
    std::string bytes;
    std::uint64_t left_out = 0;
    std::uint64_t replaced = 0;  // redacted regions
  };
  // After the watch has ended, once: the log of a stream (stdout also holds stderr where that was
  // merged).
  Log Finish(backends::Stream stream);

  // Redacted output that has not been taken yet, and where it stands; what outgrew the buffer is
  // skipped.
  struct Chunk {
    std::uint64_t offset = 0;
    std::string bytes;
  };
  Chunk TakeLive();

 private:
  struct Lane;
  Lane& LaneOf(backends::Stream stream);
  void Pass(std::string_view redacted);
  std::unique_ptr<Lane> out_, err_;
  Live live_;
  std::mutex mutex_;  // guards what follows
  std::string pending_;
  std::uint64_t pending_offset_ = 0;
};

}  // namespace writ::runner
