#include "session/progress_sender.h"

#include "writ/base/log.h"
#include "writ/base/log_context.h"
#include "writ/protocol/json.h"

namespace writ::runner {

namespace {
constexpr std::chrono::milliseconds kCallLimit{5'000};
}  // namespace

std::string ProgressLine(const Progress& progress) {
  return json::Write(json::Object{{"phase", PhaseName(progress.phase)},
                                  {"bytes", progress.bytes},
                                  {"files", progress.files}}) +
         "\n";
}

ProgressSender::ProgressSender(const RunnerConfig& config, const Clock& clock, protocol::RunId run,
                               ClaimTicket& ticket)
    : config_(config),
      clock_(clock),
      run_(std::move(run)),
      ticket_(ticket),
      thread_([this, context = log::CurrentRun()](std::stop_token stop) {
        log::InRun in_run(context);
        Run(stop);
      }) {}

ProgressSender::~ProgressSender() = default;

void ProgressSender::Show(const Progress& progress) {
  std::lock_guard lock(mutex_);
  next_ = progress;
  changed_.notify_one();
}

void ProgressSender::Run(std::stop_token stop) {
  std::optional<PlaneClient> plane;
  std::uint64_t at = 0;
  for (;;) {
    Progress progress;
    {
      std::unique_lock lock(mutex_);
      if (!changed_.wait(lock, stop, [&] { return next_.has_value(); })) return;
      progress = *std::exchange(next_, std::nullopt);
    }
    if (!plane) {
      Result<PlaneClient> opened = PlaneClient::Open(config_.plane, clock_);
      if (!opened) return;  // said by those who need it more
      plane = std::move(*opened);
    }
    Result<std::uint64_t> next =
        plane->AppendLog(run_, ticket_.Get(), LiveStream::kProgress, at, ProgressLine(progress),
                         Deadline::After(clock_, std::min(config_.call_timeout, kCallLimit)), stop);
    if (next) {
      at = *next;  // past the line, or where the plane stands
    } else if (next.error().kind != ErrorKind::kUnavailable &&
               next.error().kind != ErrorKind::kOverloaded) {
      log::Debug("runner.progress", "the plane is not told how far transfers are",
                 {{"run", run_.text()}, {"code", next.error().code}});
      return;
    }
  }
}

}  // namespace writ::runner
