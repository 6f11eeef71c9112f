#include "run_end.h"

#include <algorithm>

#include "home.h"
#include "json_view.h"
#include "receipt_view.h"
#include "writ/protocol/events.h"

namespace writ::cli {
namespace {

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

bool WasClaimed(const plane::RunDetail& detail) {
  return std::any_of(detail.events.begin(), detail.events.end(), [](const std::string& text) {
    const auto event = json::Parse(text);
    const json::Value* inner = event ? event->Find("event") : nullptr;
    return inner != nullptr && inner->FindString("type") == protocol::events::kRunClaimed;
  });
}

// With the code and the mend of the receipt, where its runner wrote them. What ended before a
// runner had it has neither: its failure class says what can be done.
Error FailureOf(const Context& context, const plane::RunDetail& detail, const NextSteps& next) {
  auto receipt = json::Parse(detail.receipt);
  if (receipt) return RecordedFailure(*receipt, FailureText(detail));
  Error failure = RecordedFailure(json::Value(), FailureText(detail));
  const auto ended_as = [&](protocol::FailureClass failure_class) {
    return failure.message.starts_with(std::string(protocol::Word(failure_class)) + ": ");
  };
  if (ended_as(protocol::FailureClass::kPolicyDenied)) {
    failure.code = "policy_denied";
    failure.hint = "see what the plane allows: " + context.Command("policy show" + next.access);
  } else if (ended_as(protocol::FailureClass::kSecretReleaseDenied)) {
    failure.code = "run.secret_not_released";
    failure.hint = next.access.empty()
                       ? "look at where the plane takes it from: " + context.Command("secrets list")
                       : "an administrator of the plane sees where it takes it from: `writ secrets "
                         "list` there";
  } else if (ended_as(protocol::FailureClass::kConsentTimeout)) {
    failure.code = "run.consent_timeout";
    failure.hint = "run it again, and have it approved while it waits: " +
                   context.Command("runs" + next.access);
  } else if (!WasClaimed(detail)) {
    failure.code = "run.unclaimed";
    failure.hint = "see which runners serve its pool, and what they offer: " +
                   context.Command("runners" + next.access);
  }
  return failure;
}

// Only what there is: a run that was refused has no change to pull, one whose change stayed with
// its runner (disclosure, a secret in it) neither, and one that nobody claimed has no receipt.
void TellNext(const Context& context, const plane::RunDetail& detail, const NextSteps& next) {
  if (detail.receipt.empty()) {
    if (detail.summary.status == plane::RunState::kFailed && !WasClaimed(detail))
      context.Note("no runner had it, so it has no receipt");
    return;
  }
  const std::string& run = detail.summary.run_id;
  context.Note("receipt: " + context.Command("receipt " + run + next.access));
  auto receipt = json::Parse(detail.receipt);
  if (receipt && HasChangeToPull(*receipt))
    context.Note("changes: " + context.Command("pull " + run + next.access) +
                 (next.repository.empty() ? "" : " --repo " + ShellWord(next.repository)));
}

}  // namespace

int TellRunEnd(Context& context, const plane::RunDetail& detail, const RunEndFacts& facts) {
  const std::string& run_id = detail.summary.run_id;
  const plane::RunState status = detail.summary.status;
  const Error failure =
      status == plane::RunState::kFailed ? FailureOf(context, detail, facts.next) : Error{};
  if (context.json) {
    json::Object out{{"runId", run_id}, {"status", std::string(protocol::Word(status))}};
    if (!failure.message.empty()) out.Set("failure", failure.message);
    if (!failure.code.empty()) out.Set("failureCode", failure.code);
    if (!failure.hint.empty()) out.Set("failureMend", failure.hint);
    if (facts.plane_away.count() > 0) out.Set("planeAwayMs", facts.plane_away.count());
    if (!detail.receipt.empty()) {
      if (auto receipt = json::Parse(detail.receipt)) out.Set("receipt", *receipt);
    }
    context.PrintJson(std::move(out));
  }
  const std::string said = "-- " + std::string(protocol::Word(status));
  if (failure.message.empty())
    context.Note(said);
  else
    context.NoteError(said, failure);
  const std::string log = context.Command("artifacts " + run_id + " --log" + facts.next.access);
  if (facts.output == LiveOutput::End::kCut)
    context.Note("the output above ends early, the log does not: " + log);
  if (facts.output == LiveOutput::End::kIncomplete)
    context.Note("the output above is not whole: the plane did not give the rest. The log: " + log);
  TellNext(context, detail, facts.next);
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
