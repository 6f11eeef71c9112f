#include "plane_away.h"

#include <algorithm>

#include "duration.h"
#include "writ/base/log.h"

namespace writ::cli {

using std::chrono::duration_cast;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;

namespace {

// The first failure may be a connection that was kept too long: that is no news.
constexpr int kFailuresToTell = 2;

}  // namespace

bool MayPass(const Error& error) {
  return error.kind == ErrorKind::kUnavailable || error.kind == ErrorKind::kOverloaded;
}

void PlaneAway::Call::Answered() {
  if (since_) plane_.End(Ending::kAnswered);
  since_.reset();
  failures_ = 0;
  backoff_ = Backoff();
}

void PlaneAway::Call::Abandon() {
  if (since_) plane_.End(Ending::kAbandoned);
  since_.reset();
}

PlaneAway::Call::Then PlaneAway::Call::Failed(const Error& error) {
  if (!MayPass(error)) {
    Answered();
    return Then::kRefused;
  }
  const nanoseconds now = plane_.clock_.Monotonic();
  if (!since_) {
    since_ = now;
    plane_.Begin();
  }
  if (now - *since_ >= plane_.patience_) return Then::kGivenUp;
  if (++failures_ == kFailuresToTell) plane_.Tell(error);
  const milliseconds left = duration_cast<milliseconds>(*since_ + plane_.patience_ - now);
  due_ = now + std::min(backoff_.Next(), left + milliseconds(1));
  return Then::kAgain;
}

milliseconds PlaneAway::Call::Wait() const {
  const nanoseconds left = due_ - plane_.clock_.Monotonic();
  if (!since_ || left.count() <= 0) return milliseconds(0);
  return duration_cast<milliseconds>(left) + milliseconds(1);
}

milliseconds PlaneAway::Call::FailingFor() const {
  return since_ ? duration_cast<milliseconds>(plane_.clock_.Monotonic() - *since_)
                : milliseconds(0);
}

milliseconds PlaneAway::AwayFor() const {
  nanoseconds all = before_;
  if (failing_ > 0) all += clock_.Monotonic() - since_;
  return duration_cast<milliseconds>(all);
}

void PlaneAway::Begin() {
  if (failing_++ == 0) since_ = clock_.Monotonic();
}

void PlaneAway::Tell(const Error& error) {
  if (told_) return;
  told_ = true;
  if (context_.json) {  // standard output has the result alone
    log::Warn("cli.plane_away", "the plane is away, trying again",
              {{"run", context_.run_id}, {"code", error.code}});
    return;
  }
  context_.Note("-- plane away, trying again for up to " + FormatDuration(patience_) + ": " +
                TerminalSafe(error.message) + " [" + TerminalSafe(error.code) + "]");
}

void PlaneAway::End(Ending ending) {
  if (--failing_ > 0) return;
  const nanoseconds span = clock_.Monotonic() - since_;
  before_ += span;
  if (!told_) return;
  told_ = false;
  if (ending == Ending::kAbandoned) return;
  const std::string after = FormatDuration(duration_cast<milliseconds>(span));
  if (context_.json)
    log::Warn("cli.plane_back", "the plane answers again",
              {{"run", context_.run_id}, {"after", after}});
  else
    context_.Note("-- the plane answers again, after " + after);
}

}  // namespace writ::cli
