#include "watch.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>

#include "duration.h"
#include "embedded.h"
#include "home.h"
#include "json_view.h"
#include "progress_lines.h"
#include "receipt_view.h"

namespace writ::cli {
namespace {

std::atomic<int> g_interrupts{0};  // set by the signal handler only
std::atomic<int> g_signal{0};      // the last one; set by the signal handler only
std::atomic<bool> g_cancels{false};

extern "C" void TakeInterrupt(int signal) {
  g_signal = signal;
  if (g_interrupts.fetch_add(1) >= 1) _exit(g_cancels ? int{kRunCancelled} : 128 + signal);
}

// Ctrl-C, SIGTERM and a closed terminal count while this object lives.
class InterruptCounter {
 public:
  explicit InterruptCounter(OnInterrupt on_interrupt) {
    g_interrupts = 0;
    g_cancels = on_interrupt == OnInterrupt::kCancelRun;
    struct sigaction action {};
    action.sa_handler = TakeInterrupt;
    ::sigaction(SIGINT, &action, &old_int_);
    ::sigaction(SIGTERM, &action, &old_term_);
    ::sigaction(SIGHUP, nullptr, &old_hup_);  // nohup's wish is respected
    if (old_hup_.sa_handler != SIG_IGN) ::sigaction(SIGHUP, &action, nullptr);
  }
  ~InterruptCounter() {
    ::sigaction(SIGINT, &old_int_, nullptr);
    ::sigaction(SIGTERM, &old_term_, nullptr);
    ::sigaction(SIGHUP, &old_hup_, nullptr);
  }
  InterruptCounter(const InterruptCounter&) = delete;
  InterruptCounter& operator=(const InterruptCounter&) = delete;

 private:
  struct sigaction old_int_ {};
  struct sigaction old_term_ {};
  struct sigaction old_hup_ {};
};

// The job's output goes out as it is where that is no terminal, escaped where it is: a job does not
// drive its watcher's terminal.
void PrintOutput(const Context& context, std::FILE* to, const std::string& bytes) {
  const std::string safe =
      ::isatty(::fileno(to)) != 0 ? TerminalSafe(bytes, Newlines::kKeep) : bytes;
  if (to == stdout) return context.Print(safe);
  if (context.json) return;
  std::fwrite(safe.data(), 1, safe.size(), to);
  std::fflush(to);
}

// One live stream of the run as far as it was shown.
struct Shown {
  plane::LogStream stream = plane::LogStream::kOutput;
  std::FILE* to = stdout;
  bool available = true;  // no more after the plane has refused it: the log artifact has it
  bool cut = false;       // the plane keeps no more of it than this
  std::uint64_t offset = 0;
};

bool CapturesStderr(const std::string& contract) {
  auto value = json::Parse(contract);
  return value && Text(At(*value, {"execution", "log", "stderr"})) == "capture";
}

std::string FailureText(const plane::RunDetail& detail) {
  for (auto it = detail.events.rbegin(); it != detail.events.rend(); ++it) {
    auto event = json::Parse(*it);
    if (!event) continue;
    const json::Value* inner = event->Find("event");
    if (inner == nullptr || inner->FindString("type") != "run.failed") continue;
    return std::string(inner->FindString("failure").value_or("failed")) + ": " +
           std::string(inner->FindString("message").value_or(""));
  }
  return detail.summary.failure;
}

// With the code and the mend of the receipt, where its runner wrote them.
Error FailureOf(const plane::RunDetail& detail) {
  auto receipt = json::Parse(detail.receipt);
  return RecordedFailure(receipt ? *receipt : json::Value(), FailureText(detail));
}

// The watching ends, and not the run.
void Leave(const Context& context, const std::string& run_id, plane::RunState status,
           const NextSteps& next) {
  if (context.json)
    context.PrintJson(json::Object{
        {"runId", run_id}, {"status", std::string(protocol::Word(status))}, {"left", true}});
  context.Note("-- no longer watched; the run " +
               std::string(status == plane::RunState::kCreated ? "stays queued" : "goes on") +
               ". Cancel it with: " + context.Command("cancel " + run_id + next.access));
}

// A log over its limit: then what was shown live was over it too.
bool HasLeftOutOfTheLog(const std::string& receipt) {
  auto value = json::Parse(receipt);
  if (!value) return false;
  const double* bytes = At(*value, {"runner", "environment", "log", "leftOutBytes"}).if_number();
  return bytes != nullptr && *bytes > 0;
}

// Only what there is: a run that was refused has no change to pull, one whose change stayed with
// its runner (disclosure, a secret in it) neither, and one that nobody claimed has no receipt.
void TellNext(const Context& context, const plane::RunDetail& detail, const NextSteps& next) {
  if (detail.receipt.empty()) return;
  const std::string& run = detail.summary.run_id;
  context.Note("receipt: " + context.Command("receipt " + run + next.access));
  auto receipt = json::Parse(detail.receipt);
  if (receipt && HasChangeToPull(*receipt))
    context.Note("changes: " + context.Command("pull " + run + next.access) +
                 (next.repository.empty() ? "" : " --repo " + ShellWord(next.repository)));
}

}  // namespace

int WatchRun(Context& context, Requester& requester, const std::string& run_id, Embedded* embedded,
             OnInterrupt on_interrupt, const NextSteps& next) {
  using namespace std::chrono_literals;
  InterruptCounter interrupts(on_interrupt);
  Shown merged;
  Shown err{.stream = plane::LogStream::kStderr, .to = stderr};
  Shown transfers{.stream = plane::LogStream::kProgress, .to = nullptr};
  ProgressLines progress(context);
  bool cancel_sent = false;
  bool running_told = false;
  std::string waits_told;
  std::chrono::steady_clock::time_point give_up;
  plane::RunState last = plane::RunState::kCreated;
  auto detail = requester.Run(run_id);
  for (;;) {
    if (!detail) {
      context.Fail(detail.error());
      return context.exit_code;
    }
    plane::RunState status = detail->summary.status;
    if (status != last) {
      // The end is said when all output is out, and with its reason. No state is said behind output
      // that only a later one can have.
      if (!plane::IsTerminal(status) && !running_told)
        context.Note("-- " + std::string(protocol::Word(status)));
      running_told |= status == plane::RunState::kRunning;
      last = status;
    }
    if (status == plane::RunState::kAwaitingApproval) {
      if (context.json) {
        context.PrintJson(json::Object{
            {"runId", run_id},
            {"status", "awaiting_approval"},
            {"consentRequirements", json::Value::Texts(detail->summary.consent_requirements)}});
      }
      for (const std::string& requirement : detail->summary.consent_requirements)
        context.Note("needs consent: " + TerminalSafe(requirement));
      context.Note("approve it with: " + context.Command("approve " + run_id + next.access));
      return kWaitingApproval;
    }
    // Our own runner takes this very run, whatever the others can do.
    const std::optional<plane::Waiting>& waiting = detail->summary.waiting;
    if (embedded == nullptr && waiting && !cancel_sent && waiting->message != waits_told &&
        waiting->code != "wait.turn" && waiting->code != "wait.offered") {
      waits_told = waiting->message;
      context.Note("-- waiting: " + TerminalSafe(waits_told));
      if (!waiting->mend.empty()) context.Note("mend: " + TerminalSafe(waiting->mend));
    }
    bool terminal = plane::IsTerminal(status);
    bool live = status == plane::RunState::kClaimed || status == plane::RunState::kProvisioning ||
                status == plane::RunState::kRunning;
    if (live && transfers.available) {
      auto chunk = requester.ReadLog(run_id, transfers.stream, transfers.offset, 0ms);
      transfers.available = chunk.has_value();  // an older plane has no such stream
      if (chunk) {
        transfers.offset += chunk->bytes.size();
        progress.Take(chunk->bytes);
      }
    }
    bool more = false;
    for (Shown* shown : {&merged, &err}) {
      if (!shown->available || !(live || terminal)) continue;
      if (shown == &err && !CapturesStderr(detail->contract)) continue;
      auto chunk = requester.ReadLog(run_id, shown->stream, shown->offset,
                                     terminal || shown == &err ? 0ms : 250ms);
      if (!chunk) {
        shown->available = false;
        continue;
      }
      // Output may be here before the state that allows it was seen: its line comes first.
      if (!chunk->bytes.empty() && !running_told) {
        if (last != plane::RunState::kRunning)
          context.Note("-- " + std::string(protocol::Word(plane::RunState::kRunning)));
        running_told = true;
      }
      PrintOutput(context, shown->to, chunk->bytes);
      shown->offset = chunk->offset + chunk->bytes.size();
      shown->cut |= chunk->truncated;
      more |= terminal && !chunk->bytes.empty() && !chunk->complete;
    }
    if (more) continue;
    if (terminal) break;
    if (cancel_sent && std::chrono::steady_clock::now() > give_up) {
      context.Fail(kRunCancelled, Error{ErrorKind::kCancelled, "watch.not_ended",
                                        "the run was told to stop and has not ended yet",
                                        "its runner may be gone; look again with: " +
                                            context.Command("runs" + next.access)});
      return kRunCancelled;
    }
    if (g_interrupts > 0 && on_interrupt == OnInterrupt::kLeaveRun &&
        (embedded == nullptr || !embedded->HasTakenTheRun())) {
      Leave(context, run_id, status, next);
      return 128 + g_signal;
    }
    if (g_interrupts > 0 && !cancel_sent) {
      cancel_sent = true;
      g_cancels = true;
      give_up = std::chrono::steady_clock::now() + 60s;
      context.Note("-- cancelling (press Ctrl-C again to leave at once)");
      auto cancelled = requester.Cancel(run_id, std::nullopt);
      if (!cancelled && embedded == nullptr)
        context.NoteError("the plane did not take the cancellation", cancelled.error());
      if (embedded != nullptr) embedded->Cancel();
    }
    if (embedded != nullptr) {
      if (auto trouble = embedded->Trouble()) {
        context.Fail(kFailed, *trouble);
        return kFailed;
      }
    }
    detail = requester.WaitRun(run_id, detail->summary.updated_at,
                               live && merged.available ? 0ms : 1000ms);
  }
  plane::RunState status = detail->summary.status;
  const Error failure = status == plane::RunState::kFailed ? FailureOf(*detail) : Error{};
  if (context.json) {
    json::Object out{{"runId", run_id}, {"status", std::string(protocol::Word(status))}};
    if (!failure.message.empty()) out.Set("failure", failure.message);
    if (!failure.code.empty()) out.Set("failureCode", failure.code);
    if (!failure.hint.empty()) out.Set("failureMend", failure.hint);
    if (!detail->receipt.empty()) {
      if (auto receipt = json::Parse(detail->receipt)) out.Set("receipt", *receipt);
    }
    context.PrintJson(std::move(out));
  }
  const std::string said = "-- " + std::string(protocol::Word(status));
  if (failure.message.empty())
    context.Note(said);
  else
    context.NoteError(said, failure);
  if (merged.cut || err.cut || HasLeftOutOfTheLog(detail->receipt))
    context.Note("the output above ends early, the log does not: " +
                 context.Command("artifacts " + run_id + " --log" + next.access));
  TellNext(context, *detail, next);
  switch (status) {
    case plane::RunState::kCompleted:
      return kDone;
    case plane::RunState::kCancelled:
      return kRunCancelled;
    default:
      return failure.message.starts_with("policy_denied") ? kPolicyDenied : kFailed;
  }
}

}  // namespace writ::cli
