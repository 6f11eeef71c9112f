#include "http/answers.h"

#include "writ/protocol/canonical.h"

namespace writ::plane::http {
namespace {

std::string JoinedArray(const std::vector<std::string>& texts) {
  std::string out = "[";
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (i != 0) out += ',';
    out += texts[i];
  }
  return out + "]";
}

std::string Joined(const std::vector<std::string>& texts) {
  std::string out;
  for (const auto& text : texts) out += (out.empty() ? "" : "; ") + text;
  return out;
}

}  // namespace

Response JsonAnswer(int status, const json::Value& value) {
  return RawJsonAnswer(status, json::Write(value));
}

Response RawJsonAnswer(int status, std::string text) {
  Response out;
  out.status = status;
  out.body = std::move(text);
  return out;
}

Response ErrorAnswer(int status, std::string_view code, std::string_view sentence) {
  return JsonAnswer(status, json::Object{{"error", sentence}, {"code", code}});
}

Response ErrorAnswer(int status, std::string_view code, std::string_view sentence,
                     const Error& error) {
  json::Object out{{"error", sentence}, {"code", code}};
  if (!error.code.empty() && error.code != code) out.Set("detail", error.code);
  if (!error.hint.empty()) out.Set("hint", error.hint);
  return JsonAnswer(status, out);
}

Response IssuesAnswer(const json::Issues& issues) {
  std::vector<std::string> texts;
  for (const auto& issue : issues.list()) {
    std::string place = issue.pointer.empty() ? "body" : issue.pointer.substr(1);
    for (char& c : place) {
      if (c == '/') c = '.';
    }
    texts.push_back(place + ": " + issue.message);
  }
  return JsonAnswer(400, json::Object{{"error", "invalid request: " + Joined(texts)},
                                      {"code", "bad_request"},
                                      {"issues", json::Value::Texts(texts)},
                                      {"pointer", issues.list().front().pointer}});
}

namespace {

// Built by hand, so that a secret's value is in one buffer only, and that one is the answer.
void AppendSecrets(const std::vector<ReleasedSecret>& secrets, std::string& out) {
  out += ",\"secrets\":[";
  for (std::size_t i = 0; i < secrets.size(); ++i) {
    out += i == 0 ? "{\"name\":" : ",{\"name\":";
    json::AppendQuoted(secrets[i].name, out);
    out += ",\"value\":";
    json::AppendQuoted(secrets[i].value.Reveal(), out);
    out += '}';
  }
  out += ']';
}

}  // namespace

Response ClaimAnswer(const Claim& claim) {
  std::string out = "{\"runId\":";
  json::AppendQuoted(claim.run_id, out);
  out += ",\"contract\":" + claim.contract + ",\"claimToken\":";
  json::AppendQuoted(claim.claim_token, out);
  out += ",\"events\":" + JoinedArray(claim.events);
  AppendSecrets(claim.secrets, out);
  return RawJsonAnswer(200, out + "}");
}

Response OfferJsonAnswer(const OfferAnswer& answer) {
  const Offer& offer = *answer.offer;
  std::string out = "{\"offer\":true,\"runId\":";
  json::AppendQuoted(offer.run_id, out);
  out += ",\"contract\":" + offer.contract + ",\"claimToken\":";
  json::AppendQuoted(offer.claim_token, out);
  out += ",\"offerMs\":" + std::to_string(offer.lasts.count());
  out += ",\"events\":" + JoinedArray(offer.events);
  return RawJsonAnswer(200, out + "}");
}

Response AcknowledgementAnswer(const Acknowledgement& taken) {
  std::string out = "{\"events\":" + JoinedArray(taken.events);
  AppendSecrets(taken.secrets, out);
  out += ",\"leaseMs\":" + std::to_string(taken.times.lease.count());
  out += ",\"renewAfterMs\":" + std::to_string(taken.times.renew_after.count());
  return RawJsonAnswer(200, out + "}");
}

json::Value LeaseJson(const LeaseAnswer& lease) {
  json::Object out{{"leaseMs", lease.times.lease.count()},
                   {"renewAfterMs", lease.times.renew_after.count()}};
  if (!lease.claim_token.empty()) out.Set("claimToken", lease.claim_token);
  if (lease.cancel_requested) out.Set("cancelRequested", true);
  if (lease.cancelled_by) out.Set("cancelledBy", lease.cancelled_by->ToJson());
  if (lease.rotate) out.Set("rotate", true);
  if (lease.closed) out.Set("closed", true);
  return out;
}

Response SubmissionAnswer(const Submission& submission) {
  switch (submission.kind) {
    case Submission::Kind::kDryRun:
      return RawJsonAnswer(200, submission.report);
    case Submission::Kind::kDenied:
      return JsonAnswer(403, json::Object{{"error", "policy denied: " + Joined(submission.reasons)},
                                          {"code", "policy_denied"},
                                          {"reasons", json::Value::Texts(submission.reasons)}});
    case Submission::Kind::kInvalid:
      return JsonAnswer(400,
                        json::Object{{"error", "invalid request: " + Joined(submission.issues)},
                                     {"code", "bad_request"},
                                     {"issues", json::Value::Texts(submission.issues)},
                                     {"pointer", submission.pointer}});
    case Submission::Kind::kAccepted:
      break;
  }
  return JsonAnswer(200, json::Object{{"runId", submission.run_id},
                                      {"status", protocol::Word(submission.status)},
                                      {"consentRequirements",
                                       json::Value::Texts(submission.consent_requirements)}});
}

namespace {

void SetLeaseFacts(const RunSummary& run, json::Object& out) {
  if (!run.closed_reason.empty()) {
    out.Set("lost", true);
    out.Set("closedBy", json::Object{{"kind", "plane"}, {"reason", run.closed_reason}});
  }
  if (!run.retry_of.empty()) out.Set("retryOf", run.retry_of);
  if (!run.retried_as.empty()) out.Set("retriedAs", run.retried_as);
  if (run.has_late_receipt) out.Set("lateReceipt", true);
}

void SetWaiting(const RunSummary& run, json::Object& out) {
  if (!run.waiting) return;
  json::Object waiting{{"code", run.waiting->code},
                       {"message", json::ToWellFormedUtf8(run.waiting->message)}};
  if (!run.waiting->mend.empty()) waiting.Set("mend", json::ToWellFormedUtf8(run.waiting->mend));
  out.Set("waiting", std::move(waiting));
}

}  // namespace

Response RunAnswer(const RunDetail& run) {
  json::Object out{{"runId", run.summary.run_id},
                   {"status", protocol::Word(run.summary.status)},
                   {"createdAt", FormatRfc3339(run.summary.created_at)},
                   {"updatedAt", FormatRfc3339(run.summary.updated_at)},
                   {"consentRequirements", json::Value::Texts(run.summary.consent_requirements)}};
  if (run.summary.cancel_requested) out.Set("cancelRequested", true);
  if (!run.summary.failure.empty()) out.Set("failure", run.summary.failure);
  SetLeaseFacts(run.summary, out);
  SetWaiting(run.summary, out);
  std::string text = json::Write(out);
  text.pop_back();
  return RawJsonAnswer(200, text + ",\"events\":" + JoinedArray(run.events) + "}");
}

json::Value SummaryJson(const RunSummary& run) {
  json::Object out{{"runId", run.run_id},
                   {"status", protocol::Word(run.status)},
                   {"agentKind", run.agent_kind},
                   {"pool", run.pool},
                   {"prompt", run.prompt},
                   {"requestedBy", run.requested_by.ToJson()},
                   {"createdAt", FormatRfc3339(run.created_at)},
                   {"updatedAt", FormatRfc3339(run.updated_at)},
                   {"consentRequirements", json::Value::Texts(run.consent_requirements)},
                   {"hasReceipt", run.has_receipt}};
  if (run.cancel_requested) out.Set("cancelRequested", true);
  if (!run.failure.empty()) out.Set("failure", run.failure);
  SetLeaseFacts(run, out);
  SetWaiting(run, out);
  return out;
}

Response ArtifactsAnswer(const std::vector<ArtifactInfo>& artifacts) {
  json::Array list;
  for (const ArtifactInfo& info : artifacts) {
    json::Object item{{"kind", info.kind}, {"hash", info.hash}};
    if (info.bytes) item.Set("bytes", *info.bytes);
    if (!info.path.empty()) item.Set("path", info.path);
    if (!info.data_class.empty()) item.Set("dataClass", info.data_class);
    if (info.pruned) item.Set("pruned", true);
    list.emplace_back(std::move(item));
  }
  return JsonAnswer(200, json::Value(std::move(list)));
}

std::optional<Actor> ReadActor(json::Issues& issues, const json::Value& body) {
  json::ObjectReader reader(issues, body);
  std::optional<Actor> out;
  if (auto actor = reader.OptionalChild("actor")) {
    out.emplace();
    out->kind = actor->Enum("kind", protocol::kActorKindTable);
    out->id = actor->String("id", {.min_bytes = 1, .max_bytes = 256});
    actor->RefuseUnknown();
  }
  reader.RefuseUnknown();
  return out;
}

std::string RetryAfter(const Error& error) {
  std::string digits;
  for (char c : error.hint) {
    if (c >= '0' && c <= '9') digits += c;
  }
  return digits.empty() ? "1" : digits;
}

}  // namespace writ::plane::http
