#include "session/heartbeat.h"

#include <algorithm>

#include "plane/backoff.h"
#include "writ/base/log.h"

namespace writ::runner {

using std::chrono::milliseconds;

namespace {
// How long output may wait before it is shown to those who watch.
constexpr milliseconds kLiveInterval{200};
}  // namespace

Heartbeat::Heartbeat(const RunnerConfig& config, const Clock& clock, protocol::RunId run,
                     ChainWriter& chain, ClaimTicket& ticket, LogCapture& log, RunJournal* journal,
                     OnCancel on_cancel)
    : config_(config),
      clock_(clock),
      run_(std::move(run)),
      chain_(chain),
      ticket_(ticket),
      log_(log),
      journal_(journal),
      on_cancel_(std::move(on_cancel)),
      thread_([this](std::stop_token stop) { Run(stop); }) {}

Heartbeat::~Heartbeat() = default;

void Heartbeat::SendLive(PlaneClient& plane, std::stop_token stop) {
  LogCapture::Chunk chunk = log_.TakeLive();
  if (chunk.bytes.empty()) return;
  Status sent = plane.AppendLog(run_, ticket_.Get(), chunk.offset, chunk.bytes,
                                Deadline::After(clock_, config_.heartbeat), stop);
  if (!sent && sent.error().kind != ErrorKind::kUnavailable &&
      sent.error().kind != ErrorKind::kCancelled)
    live_wanted_ = false;
}

void Heartbeat::TakeToken(RunSignals& signals) {
  if (!signals.claim_token) return;
  if (journal_ != nullptr) (void)journal_->NoteToken(*signals.claim_token);
  ticket_.Renew(std::move(*signals.claim_token));
  signals.claim_token.reset();
}

void Heartbeat::Run(std::stop_token stop) {
  Result<PlaneClient> plane = PlaneClient::Open(config_.plane, clock_);
  if (!plane) {
    log::Warn("runner.heartbeat", "no heartbeat: the plane client could not be opened",
              {{"code", plane.error().code}});
    return;
  }
  const milliseconds tick = std::min(config_.heartbeat, kLiveInterval);
  auto next =
      clock_.Monotonic() + std::chrono::duration_cast<std::chrono::nanoseconds>(config_.heartbeat);
  while (Backoff::Pause(tick, stop)) {
    if (live_wanted_) SendLive(*plane, stop);
    if (clock_.Monotonic() < next) continue;
    next = clock_.Monotonic() +
           std::chrono::duration_cast<std::chrono::nanoseconds>(config_.heartbeat);
    Secret token = ticket_.Get();
    Result<RunSignals> signals =
        renew_wanted_ ? plane->Renew(run_, token, Deadline::After(clock_, config_.heartbeat), stop)
                      : RunSignals{};
    if (!signals && signals.error().code == "plane.no_such_call") {
      renew_wanted_ = false;
      log::Info("runner.no_lease",
                "the plane renews no leases; its claim token lives as long as it was given",
                {{"run", run_.text()}});
      signals = RunSignals{};
    }
    if (signals && !signals->cancel_requested) {
      TakeToken(*signals);
      // Nothing to send is a question too: the answer tells of a cancellation.
      signals = chain_.HasUnsent()
                    ? chain_.Flush(*plane, run_, token, config_.call_timeout, stop)
                    : plane->AppendEvents(run_, token, {},
                                          Deadline::After(clock_, config_.heartbeat), stop);
    }
    if (!signals) {
      if (signals.error().kind != ErrorKind::kCancelled)
        log::Warn("runner.heartbeat", "a heartbeat was not answered",
                  {{"run", run_.text()}, {"code", signals.error().code}});
      continue;
    }
    TakeToken(*signals);
    if (signals->cancel_requested && on_cancel_) {
      OnCancel once = std::exchange(on_cancel_, nullptr);
      once(signals->cancelled_by);
    }
  }
  if (live_wanted_) SendLive(*plane, {});  // what the job wrote last
}

}  // namespace writ::runner
