#include "watch.h"

#include <CLI/CLI.hpp>

#include "duration.h"
#include "embedded.h"
#include "home.h"
#include "interrupts.h"
#include "live_output.h"
#include "plane_away.h"
#include "run_end.h"

namespace writ::cli {
namespace {

using namespace std::chrono_literals;

// How long a run that was told to end may take before its watcher leaves.
constexpr auto kCancelPatience = 60s;

// Between two looks whether the process that runs it is still there.
constexpr auto kTakeOverPace = 2s;

class Watch {
 public:
  Watch(Context& context, Requester& requester, const Clock& clock, const std::string& run_id,
        const WatchOptions& options)
      : context_(context),
        requester_(requester),
        clock_(clock),
        run_id_(run_id),
        options_(options),
        embedded_(options.embedded),
        away_(context, clock, options.reconnect),
        status_(away_),
        cancel_(away_),
        output_(context, requester, run_id, away_, [this] { TellRunning(); }) {
    if (options.on_interrupt == OnInterrupt::kCancelRun && embedded_ != nullptr)
      interrupts_.LeavingCancels();
  }

  // The exit code.
  int Follow();

 private:
  using Then = PlaneAway::Call::Then;
  bool Ended() const { return detail_ && plane::IsTerminal(detail_->summary.status); }
  bool Live() const {
    using plane::RunState;
    return detail_ && (detail_->summary.status == RunState::kClaimed ||
                       detail_->summary.status == RunState::kProvisioning ||
                       detail_->summary.status == RunState::kRunning);
  }
  std::string See(const char* verb) const {
    return context_.Command(verb + run_id_ + options_.next.access);
  }
  // Each: an exit code where the watching ends with it.
  std::optional<int> Look();
  std::optional<int> HeedSignals();
  std::optional<int> Trouble();
  std::optional<int> TakeOver();
  int Fail(ExitCode code, const Error& error);
  int GivenUp(const Error& error);
  int AskForConsent();
  int Leave();
  void SendCancel();
  void FetchReceipt();
  void TellState();
  void TellRunning();
  void TellWaiting();
  std::chrono::milliseconds Pause() const;

  Context& context_;
  Requester& requester_;
  const Clock& clock_;
  const std::string run_id_;
  const WatchOptions& options_;
  std::unique_ptr<Embedded> taken_over_;
  std::chrono::nanoseconds take_over_next_{0};
  Embedded* embedded_;  // options_.embedded, or taken_over_
  Interrupts interrupts_;
  PlaneAway away_;
  PlaneAway::Call status_, cancel_;
  LiveOutput output_;
  std::optional<plane::RunDetail> detail_;  // as seen last
  plane::RunState last_ = plane::RunState::kCreated;
  bool running_told_ = false;
  std::string waits_told_;
  enum class Cancelling { kNo, kAsked, kTaken, kRefused };
  Cancelling cancelling_ = Cancelling::kNo;
  std::optional<Error> cancel_refusal_;
  std::chrono::nanoseconds give_up_{0};  // when cancelling
};

int Watch::Fail(ExitCode code, const Error& error) {
  context_.Fail(code, error);
  return code;
}

// Whoever watches has lost sight of the run; it has not ended.
int Watch::GivenUp(const Error& error) {
  const std::string span = FormatDuration(status_.FailingFor());
  if (embedded_ != nullptr) return Fail(ExitCodeFor(error), error);
  return Fail(kPlaneUnreachable,
              Error{ErrorKind::kUnavailable, "plane.away",
                    "the plane was away for " + span + " and the run is no longer watched: " +
                        error.message + " [" + error.code + "]",
                    "the run goes on without its watcher; when the plane is back, follow it "
                    "again with: " +
                        See("watch ")});
}

// The state of the run, from its plane.
std::optional<int> Watch::Look() {
  if (Ended() || status_.Wait() > 0ms) return std::nullopt;
  // Output is waited for where there is some.
  const bool here = Live() && output_.Follows();
  auto detail = detail_ ? requester_.WaitRun(run_id_, detail_->summary.updated_at,
                                             here || status_.failing() ? 0ms : 1000ms)
                        : requester_.Run(run_id_);
  if (detail) {
    status_.Answered();
    detail_ = std::move(*detail);
    return std::nullopt;
  }
  switch (status_.Failed(detail.error())) {
    case Then::kAgain:
      return std::nullopt;
    case Then::kGivenUp:
      return GivenUp(detail.error());
    case Then::kRefused:
      break;
  }
  return Fail(ExitCodeFor(detail.error()), detail.error());
}

void Watch::TellState() {
  // The end is said when all output is out, and with its reason. No state is said behind output
  // that only a later one can have.
  const plane::RunState status = detail_->summary.status;
  if (status == last_) return;
  last_ = status;
  if (status == plane::RunState::kRunning) return TellRunning();
  if (!plane::IsTerminal(status) && !running_told_)
    context_.Note("-- " + std::string(protocol::Word(status)));
}

// Output may be here before the state that allows it was seen: its line comes first.
void Watch::TellRunning() {
  if (running_told_) return;
  running_told_ = true;
  context_.Note("-- " + std::string(protocol::Word(plane::RunState::kRunning)));
}

void Watch::TellWaiting() {
  // Our own runner takes this very run, whatever the others can do.
  const std::optional<plane::Waiting>& waiting = detail_->summary.waiting;
  if (embedded_ != nullptr || !waiting || cancelling_ != Cancelling::kNo ||
      waiting->message == waits_told_ || waiting->code == "wait.turn" ||
      waiting->code == "wait.offered")
    return;
  waits_told_ = waiting->message;
  context_.Note("-- waiting: " + TerminalSafe(waits_told_));
  if (!waiting->mend.empty()) context_.Note("mend: " + TerminalSafe(waiting->mend));
}

int Watch::AskForConsent() {
  const std::vector<std::string>& requirements = detail_->summary.consent_requirements;
  if (context_.json) {
    context_.PrintJson(json::Object{{"runId", run_id_},
                                    {"status", "awaiting_approval"},
                                    {"consentRequirements", json::Value::Texts(requirements)}});
  }
  for (const std::string& requirement : requirements)
    context_.Note("needs consent: " + TerminalSafe(requirement));
  context_.Note("approve it with: " + See("approve "));
  return kWaitingApproval;
}

// The watching ends, and not the run.
int Watch::Leave() {
  const bool queued = detail_ && detail_->summary.status == plane::RunState::kCreated;
  if (context_.json) {
    json::Object out{{"runId", run_id_}};
    if (detail_) out.Set("status", std::string(protocol::Word(detail_->summary.status)));
    context_.PrintJson(std::move(out.Set("left", true)));
  }
  context_.Note("-- no longer watched; the run " +
                std::string(queued ? "stays queued" : "goes on") +
                ". Cancel it with: " + See("cancel "));
  return 128 + interrupts_.LastSignal();
}

void Watch::SendCancel() {
  auto cancelled = requester_.Cancel(run_id_, std::nullopt);
  if (cancelled) {
    cancel_.Answered();
    cancelling_ = Cancelling::kTaken;
    interrupts_.LeavingCancels();
    return;
  }
  if (embedded_ != nullptr) {  // its runner was told already
    cancelling_ = Cancelling::kTaken;
    return;
  }
  cancel_refusal_ = cancelled.error();
  if (cancel_.Failed(cancelled.error()) == Then::kAgain) return;
  cancel_.Abandon();
  cancelling_ = Cancelling::kRefused;
  context_.NoteError("the plane did not take the cancellation", cancelled.error());
}

std::optional<int> Watch::HeedSignals() {
  if (!interrupts_.Any()) return std::nullopt;
  const bool ours = embedded_ != nullptr && embedded_->HasTakenTheRun();
  if (options_.on_interrupt == OnInterrupt::kLeaveRun && !ours) return Leave();
  if (cancelling_ == Cancelling::kNo) {
    cancelling_ = Cancelling::kAsked;
    give_up_ = clock_.Monotonic() + kCancelPatience;
    context_.Note("-- cancelling (press Ctrl-C again to leave at once)");
    if (embedded_ != nullptr) {
      interrupts_.LeavingCancels();
      embedded_->Cancel();
    }
  }
  if (cancelling_ == Cancelling::kAsked && cancel_.Wait() == 0ms) SendCancel();
  if (clock_.Monotonic() <= give_up_) return std::nullopt;
  if (cancelling_ == Cancelling::kTaken)
    return Fail(kRunCancelled, Error{ErrorKind::kCancelled, "watch.not_ended",
                                     "the run was told to stop and has not ended yet",
                                     "its runner may be gone; look again with: " +
                                         context_.Command("runs" + options_.next.access)});
  const Error& why = *cancel_refusal_;
  return Fail(MayPass(why) ? kPlaneUnreachable : ExitCodeFor(why),
              Error{why.kind, "watch.not_cancelled",
                    "the plane did not take the cancellation and the run goes on: " + why.message +
                        " [" + why.code + "]",
                    "cancel it later with: " + See("cancel ")});
}

std::optional<int> Watch::Trouble() {
  if (embedded_ == nullptr) return std::nullopt;
  auto trouble = embedded_->Trouble();
  if (!trouble) return std::nullopt;
  return Fail(kFailed, *trouble);
}

// A process that was killed ends no run; its runner does, started again.
std::optional<int> Watch::TakeOver() {
  if (!Live() || embedded_ != nullptr || !options_.take_over) return std::nullopt;
  if (clock_.Monotonic() < take_over_next_) return std::nullopt;
  take_over_next_ = clock_.Monotonic() + kTakeOverPace;
  auto taken = options_.take_over(*detail_);
  if (!taken) return Fail(kFailed, taken.error());
  taken_over_ = std::move(*taken);
  embedded_ = taken_over_.get();
  if (embedded_ != nullptr)
    context_.Note("-- the process that ran it is gone: its runner ends it from here");
  return std::nullopt;
}

// Until something is to be asked again; what waits at the plane waits there.
std::chrono::milliseconds Watch::Pause() const {
  if (Ended()) return output_.Wait();
  if (status_.failing()) return status_.Wait();
  return Live() ? output_.Wait() : 0ms;
}

// A plane shows a far watcher the events alone; the code, the mend and what can be pulled are in
// the receipt. Without it the end is told all the same.
void Watch::FetchReceipt() {
  if (!detail_->receipt.empty()) return;
  const auto bundle = requester_.Bundle(run_id_);
  const auto read = bundle ? json::Parse(*bundle) : Result<json::Value>(bundle.error());
  if (!read) return;
  if (const json::Value* receipt = read->Find("receipt");
      receipt != nullptr && receipt->if_object())
    detail_->receipt = json::Write(*receipt);
}

int Watch::Follow() {
  for (;;) {
    if (auto code = Look()) return *code;
    if (detail_) {
      TellState();
      if (detail_->summary.status == plane::RunState::kAwaitingApproval) return AskForConsent();
      TellWaiting();
      if (Live() || Ended()) output_.Read(*detail_);
      if (Ended() && !output_.HasMore()) break;
    }
    if (auto code = HeedSignals()) return *code;
    if (auto code = Trouble()) return *code;
    if (auto code = TakeOver()) return *code;
    if (const auto span = Pause(); span > 0ms) interrupts_.Pause(span);
  }
  FetchReceipt();
  // With --json no output is shown, so none is missing.
  const auto output =
      context_.json ? LiveOutput::End::kWhole : output_.Finish(*detail_, interrupts_);
  return TellRunEnd(context_, *detail_, {output, away_.AwayFor(), options_.next});
}

}  // namespace

int WatchRun(Context& context, Requester& requester, const Clock& clock, const std::string& run_id,
             const WatchOptions& options) {
  context.run_id = run_id;
  return Watch(context, requester, clock, run_id, options).Follow();
}

void AddReconnect(CLI::App& command, std::string& text) {
  command.add_option("--reconnect", text,
                     "How long a plane that is away is asked again before the watching ends "
                     "(default: 5m; 0: not at all)");
}

Result<std::chrono::milliseconds> ParseReconnect(const std::string& text) {
  if (text.empty()) return std::chrono::milliseconds(kReconnect);
  if (text == "0") return 0ms;
  if (auto span = ParseDuration(text)) return *span;
  return Error{ErrorKind::kInvalid, "cli.bad_duration", "--reconnect is not a duration",
               "write it like 30s or 10m"};
}

}  // namespace writ::cli
