#include "live_output.h"

#include <unistd.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "json_view.h"
#include "writ/protocol/events.h"

namespace writ::cli {
namespace {

using namespace std::chrono_literals;

// A log is bounded by its runner (limits.maxLogBytes); a rest is no reason to take more than this.
constexpr std::uint64_t kMaxLogBytes = std::uint64_t{256} << 20;

bool CapturesStderr(const std::string& contract) {
  auto value = json::Parse(contract);
  return value && Text(At(*value, {"execution", "log", "stderr"})) == "capture";
}

// A log over its limit has a gap in its middle: what is shown live does not fit it.
bool HasLeftOut(const std::string& receipt) {
  auto value = json::Parse(receipt);
  if (!value) return false;
  const double* bytes = At(*value, {"runner", "environment", "log", "leftOutBytes"}).if_number();
  return bytes != nullptr && *bytes > 0;
}

// Hashes of the logs that were uploaded, in their order.
std::vector<std::string> LogsOf(const plane::RunDetail& detail) {
  namespace events = protocol::events;
  std::vector<std::string> out;
  std::string last;
  for (const std::string& text : detail.events) {
    auto value = json::Parse(text);
    if (!value) continue;
    const json::Value& event = At(*value, {"event"});
    const std::string type = Text(At(event, {"type"}));
    if (type == events::kArtifactCreated)
      last = Text(At(event, {"kind"})) == "log" ? Text(At(event, {"hash"})) : "";
    else if (type == events::kBoundaryCrossed && Text(At(event, {"direction"})) == "out" &&
             !last.empty() && Text(At(event, {"contentHash"})) == last)
      out.push_back(std::exchange(last, ""));
  }
  return out;
}

}  // namespace

LiveOutput::LiveOutput(const Context& context, Requester& requester, const std::string& run_id,
                       PlaneAway& away, std::function<void()> before)
    : context_(context),
      requester_(requester),
      away_(away),
      run_id_(run_id),
      before_(std::move(before)),
      progress_(context),
      out_(plane::LogStream::kOutput, stdout, away),
      err_(plane::LogStream::kStderr, stderr, away),
      transfers_(plane::LogStream::kProgress, nullptr, away) {}

std::optional<plane::LogChunk> LiveOutput::Ask(Lane& lane, std::chrono::milliseconds wait) {
  if (lane.over || lane.call.Wait() > 0ms) return std::nullopt;
  auto chunk = requester_.ReadLog(run_id_, lane.stream, lane.offset, wait);
  if (chunk) {
    lane.call.Answered();
    return std::move(*chunk);
  }
  const auto then = lane.call.Failed(chunk.error());
  if (then == PlaneAway::Call::Then::kAgain) return std::nullopt;
  lane.lost = then == PlaneAway::Call::Then::kGivenUp;
  lane.over = true;
  lane.call.Abandon();
  return std::nullopt;
}

void LiveOutput::ReadProgress() {
  auto chunk = Ask(transfers_, 0ms);  // an older plane has no such stream
  if (!chunk) return;
  transfers_.offset += chunk->bytes.size();
  progress_.Take(chunk->bytes);
}

void LiveOutput::Read(const plane::RunDetail& detail) {
  const bool ended = plane::IsTerminal(detail.summary.status);
  if (streams_ == Streams::kUnknown && !detail.contract.empty()) {
    streams_ = CapturesStderr(detail.contract) ? Streams::kApart : Streams::kMerged;
    if (streams_ == Streams::kMerged) err_.over = true;
  }
  if (!ended) ReadProgress();
  // How far transfers were is of no interest any more.
  if (ended && !transfers_.over) {
    transfers_.call.Abandon();
    transfers_.over = true;
  }
  for (Lane* lane : {&out_, &err_}) {
    auto chunk = Ask(*lane, ended || lane == &err_ ? 0ms : 250ms);
    if (!chunk) continue;
    lane->offset = chunk->offset;
    Show(*lane, chunk->bytes);
    lane->over = ended && (chunk->bytes.empty() || chunk->complete);
  }
}

bool LiveOutput::HasMore() const {
  return !out_.over || !err_.over;
}

std::chrono::milliseconds LiveOutput::Wait() const {
  std::chrono::milliseconds least = 24h;
  for (const Lane* lane : {&out_, &err_})
    if (!lane->over) least = std::min(least, lane->call.Wait());
  return least == 24h ? 0ms : least;
}

// The job's output goes out as it is where that is no terminal, escaped where it is: a job does not
// drive its watcher's terminal.
void LiveOutput::Show(Lane& lane, std::string_view bytes) {
  if (bytes.empty()) return;
  if (before_) std::exchange(before_, nullptr)();
  lane.shown.Update(bytes);
  lane.offset += bytes.size();
  const std::string safe =
      ::isatty(::fileno(lane.to)) != 0 ? TerminalSafe(bytes, Newlines::kKeep) : std::string(bytes);
  if (lane.to == stdout) return context_.Print(safe);
  if (context_.json) return;
  std::fwrite(safe.data(), 1, safe.size(), lane.to);
  std::fflush(lane.to);
}

std::optional<std::string> LiveOutput::Fetch(const std::string& hash,
                                             const Interrupts& interrupts) {
  PlaneAway::Call call(away_);
  for (;;) {
    auto bytes = requester_.GetBlob(hash, kMaxLogBytes);
    if (bytes) {
      call.Answered();
      return std::move(*bytes);
    }
    if (call.Failed(bytes.error()) != PlaneAway::Call::Then::kAgain || interrupts.Any()) {
      call.Abandon();
      return std::nullopt;
    }
    interrupts.Pause(call.Wait());
  }
}

// Standard output's log comes first, and a stream without a byte has none.
LiveOutput::Lane* LiveOutput::LaneOf(std::size_t log, std::size_t logs) {
  if (streams_ == Streams::kMerged) return &out_;
  if (logs == 2) return log == 0 ? &out_ : &err_;
  if ((out_.offset > 0) != (err_.offset > 0)) return out_.offset > 0 ? &out_ : &err_;
  // Nobody can tell; a plane that does not say has merged them, as nearly all runs do.
  return streams_ == Streams::kUnknown ? &out_ : nullptr;
}

LiveOutput::End LiveOutput::Finish(const plane::RunDetail& detail, const Interrupts& interrupts) {
  if (HasLeftOut(detail.receipt)) return End::kCut;
  const std::vector<std::string> logs = LogsOf(detail);
  bool whole = !logs.empty() || !(out_.lost || err_.lost);
  for (std::size_t i = 0; i < logs.size(); ++i) {
    Lane* lane = LaneOf(i, logs.size());
    const std::string shown = lane != nullptr ? lane->shown.Finish().ToHex() : "";
    if (shown == logs[i]) continue;
    const auto log = lane != nullptr ? Fetch(logs[i], interrupts) : std::nullopt;
    const bool fits = log && log->size() >= lane->offset &&
                      protocol::Sha256(log->substr(0, lane->offset)).ToHex() == shown;
    if (fits) Show(*lane, std::string_view(*log).substr(lane->offset));
    whole &= fits;
  }
  return whole ? End::kWhole : End::kIncomplete;
}

}  // namespace writ::cli
