#include "engine/courier.h"

#include "engine/recovery.h"
#include "session/session.h"
#include "writ/base/backoff.h"
#include "writ/base/log.h"

namespace writ::runner {

using std::chrono::milliseconds;

namespace {
constexpr milliseconds kFirstPause{500};
constexpr milliseconds kLongestPause{30'000};
}  // namespace

Courier::Courier(SessionServices& services) : services_(services) {
  if (auto waiting = services_.journal.Waiting()) waiting_ = waiting->size();
  woken_ = waiting_ > 0;
  thread_ = std::jthread([this](std::stop_token stop) { Run(stop); });
}

Courier::~Courier() = default;

bool Courier::HasWaiting() const {
  std::lock_guard lock(mutex_);
  return waiting_ > 0;
}

void Courier::Wake() {
  std::lock_guard lock(mutex_);
  ++waiting_;
  woken_ = true;
  changed_.notify_all();
}

void Courier::WaitTurn(milliseconds limit) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, limit, [&] { return !woken_ && !in_turn_; });
}

std::size_t Courier::Turn(std::stop_token stop) {
  Result<std::vector<protocol::RunId>> waiting = services_.journal.Waiting();
  if (!waiting) {
    log::Error("runner.journal", "the journal could not be read", {{"code", waiting.error().code}});
    return 1;
  }
  Result<PlaneClient> plane = PlaneClient::Open(services_.config.plane, services_.clock);
  if (!plane) return waiting->size();
  std::size_t left = waiting->size();
  for (const protocol::RunId& run : *waiting) {
    if (stop.stop_requested()) break;
    const FinishFate fate = FinishWaitingRun(services_, *plane, run, stop);
    if (fate == FinishFate::kUnanswered) break;
    if (fate == FinishFate::kDone) --left;
  }
  return left;
}

void Courier::Run(std::stop_token stop) {
  const Backoff fresh(kFirstPause, kLongestPause);
  Backoff backoff = fresh;
  std::unique_lock lock(mutex_);
  while (changed_.wait(lock, stop, [&] { return woken_ || waiting_ > 0; })) {
    if (std::exchange(woken_, false)) backoff = fresh;
    in_turn_ = true;
    lock.unlock();
    const std::size_t left = Turn(stop);
    lock.lock();
    in_turn_ = false;
    // One that was handed over meanwhile is counted by the next turn.
    waiting_ = woken_ ? left + 1 : left;
    changed_.notify_all();
    if (stop.stop_requested()) return;
    if (left > 0) changed_.wait_for(lock, stop, backoff.Next(), [&] { return woken_; });
  }
}

}  // namespace writ::runner
