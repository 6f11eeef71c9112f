// LogCapture: what the job writes becomes its log - redacted first, then cut to head and tail (L9,
// L18).
//
// The cut is behind the redaction, so it cannot leave half a secret. Live output (observer, plane)
// is the redacted stream. Called by the watching thread.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "writ/backends/head_tail.h"
#include "writ/backends/output_sink.h"
#include "writ/runner/redactor.h"

namespace writ::runner {

class LogCapture final : public backends::OutputSink {
 public:
  using Live = std::function<void(backends::Stream, std::string_view)>;
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

 private:
  struct Lane;
  Lane& LaneOf(backends::Stream stream);
  std::unique_ptr<Lane> out_, err_;
  Live live_;
};

}  // namespace writ::runner
