#include "session/live_sender.h"

#include <algorithm>

#include "journal/unnoted.h"
#include "writ/base/backoff.h"
#include "writ/base/log.h"
#include "writ/base/log_context.h"

namespace writ::runner {

using std::chrono::milliseconds;

namespace {
// How long output may wait before it is shown to those who watch; pieces that come close together
// go as one.
constexpr milliseconds kLiveInterval{150};
constexpr std::size_t kPieceBytes = 256 * 1024;
// A plane that wants the same bytes again this often is not getting anywhere.
constexpr int kMaxRewinds = 8;
}  // namespace

LiveSender::LiveSender(const RunnerConfig& config, const Clock& clock, protocol::RunId run,
                       ChainWriter& chain, ClaimTicket& ticket, Spools spools, RunJournal* journal,
                       Cancels cancels, OnCancel on_cancel)
    : config_(config),
      clock_(clock),
      run_(std::move(run)),
      chain_(chain),
      ticket_(ticket),
      out_{LiveStream::kOutput, spools.out},
      err_{LiveStream::kStderr, spools.err},
      journal_(journal),
      cancels_(cancels),
      on_cancel_(std::move(on_cancel)),
      thread_([this, context = log::CurrentRun()](std::stop_token stop) {
        log::InRun in_run(context);
        Run(stop);
      }) {}

LiveSender::~LiveSender() = default;

bool LiveSender::SendPiece(Lane& lane, PlaneClient& plane, std::stop_token stop) {
  if (lane.spool == nullptr) return false;
  Result<std::string> piece = lane.spool->Read(lane.sent, kPieceBytes);
  if (!piece) {
    lane.spool = nullptr;
    return false;
  }
  if (piece->empty()) return false;
  Result<std::uint64_t> next =
      plane.AppendLog(run_, ticket_.Get(), lane.stream, lane.sent, *piece,
                      Deadline::After(clock_, std::max(config_.heartbeat, kLiveInterval)), stop);
  if (!next) {
    const ErrorKind kind = next.error().kind;
    // A token that has run out is renewed by the lease.
    failing_ = kind == ErrorKind::kUnavailable ||
               (cancels_ == Cancels::kByLease && next.error().code == "plane.unauthorized");
    if (!failing_ && kind != ErrorKind::kCancelled) {
      lane.spool = nullptr;
      log::Info("runner.live", "the plane takes no live output of this run",
                {{"run", run_.text()}, {"code", next.error().code}});
    }
    return false;
  }
  failing_ = false;
  lane.rewinds = *next > lane.sent ? 0 : lane.rewinds + 1;
  if (*next > lane.sent + piece->size() || lane.rewinds > kMaxRewinds) {
    lane.spool = nullptr;
    log::Warn("runner.live",
              "the plane's place in the live output cannot be: it gets no more of it",
              {{"run", run_.text()}});
    return false;
  }
  lane.sent = *next;
  if (journal_ != nullptr && !notes_fail_)
    notes_fail_ = !LogUnnoted(journal_->NoteOutput(out_.sent + err_.sent), run_,
                              "how much output was sent could not be noted, and is not any more");
  return true;
}

bool LiveSender::SendPieces(PlaneClient& plane, std::stop_token stop) {
  const bool out = SendPiece(out_, plane, stop);
  if (failing_) return false;
  return SendPiece(err_, plane, stop) || out;
}

// With two streams the other may grow while this one is waited for.
void LiveSender::AwaitOutput(milliseconds left, std::stop_token stop) {
  Lane& first = out_.spool != nullptr ? out_ : err_;
  if (first.spool == nullptr) {
    Backoff::Pause(left, stop);
    return;
  }
  const bool both = out_.spool != nullptr && err_.spool != nullptr;
  first.spool->WaitPast(first.sent, both ? std::min(left, kLiveInterval) : left, stop);
  if (first.spool->size() > first.sent) Backoff::Pause(std::min(left, kLiveInterval), stop);
}

void LiveSender::SendEvents(PlaneClient& plane, std::stop_token stop) {
  if (auto fresh = ticket_.TakeUnnoted(); fresh && journal_ != nullptr)
    LogUnnoted(journal_->NoteToken(*fresh), run_, kUnnotedToken);
  Secret token = ticket_.Get();
  Result<RunSignals> signals = RunSignals{};
  if (chain_.HasUnsent()) {
    signals = chain_.Flush(plane, run_, token, config_.call_timeout, stop);
  } else if (cancels_ == Cancels::kAskedHere) {
    // Nothing to send is a question too: the answer tells of a cancellation.
    signals = plane.AppendEvents(run_, token, {}, Deadline::After(clock_, config_.heartbeat), stop);
  }
  if (!signals) {
    if (signals.error().kind != ErrorKind::kCancelled)
      log::Warn("runner.heartbeat", "a heartbeat was not answered",
                {{"run", run_.text()}, {"code", signals.error().code}});
    return;
  }
  if (signals->claim_token) ticket_.Renew(std::move(*signals->claim_token));
  if (signals->cancel_requested && on_cancel_) on_cancel_(std::move(signals->cancelled_by));
}

void LiveSender::Run(std::stop_token stop) {
  Result<PlaneClient> plane = PlaneClient::Open(config_.plane, clock_);
  if (!plane) {
    log::Warn("runner.heartbeat", "no heartbeat: the plane client could not be opened",
              {{"code", plane.error().code}});
    return;
  }
  Backoff backoff(kLiveInterval, milliseconds(10'000));
  auto events_due = clock_.Monotonic() + config_.heartbeat;
  while (!stop.stop_requested()) {
    auto left = std::chrono::duration_cast<milliseconds>(events_due - clock_.Monotonic());
    left = std::max(left, milliseconds(0));
    if (failing_) {
      Backoff::Pause(std::min(left, backoff.Next()), stop);
    } else {
      AwaitOutput(left, stop);
    }
    if (stop.stop_requested()) break;
    while (SendPieces(*plane, stop) && clock_.Monotonic() < events_due) {
    }
    if (!failing_) backoff = Backoff(kLiveInterval, milliseconds(10'000));
    if (clock_.Monotonic() < events_due) continue;
    SendEvents(*plane, stop);
    events_due = clock_.Monotonic() + config_.heartbeat;
  }
  // What the job wrote last.
  Deadline end = Deadline::After(clock_, config_.heartbeat * 2);
  failing_ = false;
  while (!end.Passed() && SendPieces(*plane, {})) {
  }
}

}  // namespace writ::runner
