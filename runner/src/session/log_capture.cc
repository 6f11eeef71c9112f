#include "session/log_capture.h"

namespace writ::runner {
namespace {
struct Collect final : backends::OutputSink {
  std::string bytes;
  std::uint64_t left_out = 0;
  void OnOutput(backends::Stream, std::string_view piece, std::chrono::nanoseconds) override {
    bytes += piece;
  }
  void OnLeftOut(backends::Stream, std::uint64_t count) override {
    left_out = count;
    bytes += "\n[writ: " + std::to_string(count) + " bytes left out]\n";
  }
};

}  // namespace

struct LogCapture::Lane {
  Lane(const Redactor& redactor, std::uint64_t limit, backends::Stream stream, LogCapture& owner)
      : cut(stream, limit - limit / 4, limit / 4, collected),
        redaction(redactor, [this, &owner, stream](std::string_view piece) {
          if (owner.live_) owner.live_(stream, piece);
          cut.Add(piece, when);
        }) {}
  Collect collected;
  std::chrono::nanoseconds when{0};
  backends::HeadTail cut;
  RedactionStream redaction;
  std::uint64_t lost_before = 0;  // what the backend itself left out
};

LogCapture::LogCapture(const Redactor& redactor, std::uint64_t limit_bytes, Live live)
    : live_(std::move(live)) {
  out_ = std::make_unique<Lane>(redactor, limit_bytes, backends::Stream::kStdout, *this);
  err_ = std::make_unique<Lane>(redactor, limit_bytes, backends::Stream::kStderr, *this);
}
LogCapture::~LogCapture() = default;

LogCapture::Lane& LogCapture::LaneOf(backends::Stream stream) {
  return stream == backends::Stream::kStdout ? *out_ : *err_;
}

void LogCapture::OnOutput(backends::Stream stream, std::string_view bytes,
                          std::chrono::nanoseconds when) {
  Lane& lane = LaneOf(stream);
  lane.when = when;
  lane.redaction.Write(bytes);
}

void LogCapture::OnLeftOut(backends::Stream stream, std::uint64_t bytes) {
  LaneOf(stream).lost_before += bytes;
}

LogCapture::Log LogCapture::Finish(backends::Stream stream) {
  Lane& lane = LaneOf(stream);
  lane.redaction.Finish();
  lane.cut.Finish(lane.when);
  return Log{std::move(lane.collected.bytes), lane.collected.left_out + lane.lost_before,
             lane.redaction.replaced()};
}

}  // namespace writ::runner
