#include "writ/runner/plane_client.h"

#include "plane/plane_parts.h"
#include "writ/base/backoff.h"
#include "writ/base/fault.h"
#include "writ/protocol/digest.h"

namespace writ::runner {
Result<PlaneClient> PlaneClient::Open(const HttpEndpoint& endpoint, const Clock& clock) {
  WRIT_ASSIGN(HttpClient http, HttpClient::Open(endpoint, clock));
  return PlaneClient(std::move(http), clock);
}

namespace {

// A Date has whole seconds, cut: the middle of that second is meant, and what is within it is none.
std::chrono::milliseconds OffsetOf(WallTime date, WallTime now) {
  constexpr std::chrono::milliseconds kHalf{500};
  const std::chrono::milliseconds offset = date + kHalf - now;
  return std::chrono::abs(offset) <= kHalf ? std::chrono::milliseconds(0) : offset;
}

}  // namespace

Result<PlaneClient::Answered> PlaneClient::Call(const HttpRequest& request, Repeat repeat,
                                                const Deadline& deadline, std::stop_token stop) {
  Backoff backoff;
  RetryNote note;
  bool silence = false;
  int internal_errors = 0;
  for (;;) {
    Result<HttpResponse> answer = http_.Do(request, deadline, stop);
    if (answer) {
      if (answer->date) {
        if (auto theirs = ParseHttpDate(*answer->date))
          clock_offset_ = OffsetOf(*theirs, clock_->Now());
      }
      const bool again =
          repeat != Repeat::kNever &&
          (MayRetry(answer->status) ||
           (answer->status == 500 && repeat == Repeat::kAlways && ++internal_errors < 3));
      if (!again) return Answered{std::move(answer).value(), silence};
      // In trouble before or after it had done what was asked: nobody here knows.
      if (answer->status >= 500) silence = true;
    } else {
      if (answer.error().kind != ErrorKind::kUnavailable || repeat == Repeat::kNever)
        return std::move(answer).error();
      silence = true;
    }
    note.Failed(request, answer, deadline);
    auto pause = backoff.Next();
    if (pause >= deadline.Left()) {
      if (answer) return Answered{std::move(answer).value(), silence};
      Error error = std::move(answer).error();
      error.message +=
          ", given up " + std::to_string(deadline.Spent().count()) + " ms after the first attempt";
      return error;
    }
    if (!Backoff::Pause(pause, stop))
      return Error{
          .kind = ErrorKind::kCancelled,
          .code = "plane.cancelled",
          .message = request.method + " to " + http_.origin().host + " was given up on request"};
  }
}

Error PlaneClient::Refused(const std::string& method, const HttpResponse& response) const {
  std::string code = CodeOf(response.body);
  ErrorKind kind = response.status == 409                             ? ErrorKind::kConflict
                   : response.status == 404                           ? ErrorKind::kNotFound
                   : response.status == 429 || response.status >= 500 ? ErrorKind::kUnavailable
                   : response.status == 401 || response.status == 403 ? ErrorKind::kDenied
                                                                      : ErrorKind::kInvalid;
  std::string hint =
      response.status == 401   ? "is this runner still enrolled, in this pool, at this plane?"
      : response.status == 413 ? "the plane's size limit is smaller than what the run made"
      : response.status == 429 ? "the plane asks to come less often"
      : response.status >= 500 ? "the plane's own log says more"
      : response.status < 400  ? "is this the plane's URL?"
                               : "";
  const bool acted_on = response.status == 403 || response.status == 409;
  // Not this call but all of them: who has more to tell waits with it.
  const bool busy = MayRetry(response.status);
  std::string own = response.status < 400                  ? "plane.nonsense"
                    : busy                                 ? "plane.busy"
                    : response.status == 401               ? "plane.unauthorized"
                    : acted_on && code == "runner.revoked" ? "plane.revoked"
                    : acted_on && code == "run.ended"      ? "plane.run_ended"
                    : acted_on && code == "offer.expired"  ? "plane.offer_expired"
                                                           : "plane.refused";
  if (own == "plane.revoked")
    hint = "the plane's operator has taken this runner out of service: enrol it anew, or remove it";
  return Error{.kind = kind,
               .code = std::move(own),
               .message = method + " to " + http_.origin().host + " was answered " +
                          std::to_string(response.status) +
                          (code.empty() ? "" : " (" + code + ")") + " after " +
                          std::to_string(response.duration.count()) + " ms",
               .hint = hint};
}

Error PlaneClient::Nonsense(const std::string& method, const HttpResponse& response,
                            const std::string& why) const {
  return Error{.kind = ErrorKind::kInvalid,
               .code = "plane.nonsense",
               .message = method + " to " + http_.origin().host +
                          " was answered with something that is no plane's answer (" + why + ", " +
                          std::to_string(response.body.size()) + " bytes)",
               .hint = "is this the plane's URL, and not a proxy's or a web page's?"};
}

Result<json::Value> PlaneClient::ReadJson(const std::string& method,
                                          const HttpResponse& response) const {
  if (response.status != 200) return Refused(method, response);
  if (response.content_type != "application/json")
    return Nonsense(method, response, "not application/json");
  Result<json::Value> value = json::Parse(response.body);
  if (!value) return Nonsense(method, response, value.error().code);
  if (!value->is_object()) return Nonsense(method, response, "not an object");
  return value;
}

Result<PlaneInfo> PlaneClient::Health(const Deadline& deadline, std::stop_token stop) {
  HttpRequest request;
  request.path = "/v1/health";
  // Whoever asks goes on by himself, and says meanwhile why there is no answer.
  WRIT_ASSIGN(Answered answer, Call(request, Repeat::kNever, deadline, stop));
  WRIT_ASSIGN(json::Value value, ReadJson("GET", answer.response));
  const json::Value* ok = value.Find("ok");
  if (ok == nullptr || ok->if_bool() == nullptr)
    return Nonsense("GET", answer.response, "no member \"ok\"");
  PlaneInfo info;
  if (const json::Value* list = value.Find("extensions"); list != nullptr) {
    if (list->if_array() == nullptr)
      return Nonsense("GET", answer.response, "extensions is no list");
    for (const json::Value& item : *list->if_array())
      if (item.if_string() != nullptr && *item.if_string() == "writ.1") info.extended = true;
  }
  return info;
}

Result<protocol::KeyManifest> PlaneClient::SigningKeys(const Deadline& deadline,
                                                       std::stop_token stop) {
  HttpRequest request;
  request.path = "/v1/keys";
  WRIT_ASSIGN(Answered answer, Call(request, Repeat::kNever, deadline, stop));
  WRIT_ASSIGN(json::Value value, ReadJson("GET", answer.response));
  auto manifest = protocol::KeyManifest::Parse(value);
  if (!manifest) return Nonsense("GET", answer.response, manifest.error().code);
  return manifest;
}

Result<Enrolled> PlaneClient::Enroll(const Secret& enroll_token, const std::string& public_key_pem,
                                     const std::string& pool, const Deadline& deadline,
                                     std::stop_token stop) {
  WipedText body{json::Write(json::Object{{"enrollToken", std::string(enroll_token.Reveal())},
                                          {"publicKeyPem", public_key_pem},
                                          {"pool", pool}})};
  HttpRequest request = Post("/v1/runners/enroll", body.text);
  // The same key and token give the same identity, so the call may be repeated after silence.
  WRIT_ASSIGN(Answered answer, Call(request, Repeat::kUnlessAnswered, deadline, stop));
  if (answer.response.status >= 400) {
    // Somebody waits at a terminal for this one: what the plane has against it is theirs to know.
    Error error = Refused("POST", answer.response);
    std::string said = SentenceOf(answer.response.body, enroll_token);
    if (!said.empty()) error.message += "; the plane says: " + said;
    return error;
  }
  WRIT_ASSIGN(json::Value value, ReadJson("POST", answer.response));
  explicit_bzero(answer.response.body.data(), answer.response.body.size());
  json::Issues issues;
  json::ObjectReader reader(issues, value);
  Enrolled enrolled;
  enrolled.runner_id = reader.As<protocol::RunnerId>("runnerId");
  reader.String("runnerToken", {.min_bytes = 8, .max_bytes = 4096});
  if (!issues.empty()) return Nonsense("POST", answer.response, issues.list().front().ToString());
  enrolled.runner_token = TakeSecret(value.object(), "runnerToken");
  return enrolled;
}

Result<RunSignals> PlaneClient::ReadSignals(const std::string& method,
                                            const HttpResponse& response) const {
  WRIT_ASSIGN(json::Value value, ReadJson(method, response));
  RunSignals signals;
  if (const json::Value* cancel = value.Find("cancelRequested");
      cancel != nullptr && cancel->if_bool() != nullptr)
    signals.cancel_requested = *cancel->if_bool();
  for (const char* name : {"cancelledBy", "actor"}) {
    const json::Value* actor = value.Find(name);
    if (actor == nullptr || !actor->is_object()) continue;
    json::Issues issues;
    protocol::Actor read = protocol::Actor::Read(json::ObjectReader(issues, *actor));
    if (issues.empty()) signals.cancelled_by = std::move(read);
  }
  Secret token = TakeSecret(value.object(), "claimToken");
  if (!token.empty()) signals.claim_token = std::move(token);
  return signals;
}

Result<RunSignals> PlaneClient::AppendEvents(const protocol::RunId& run, const Secret& claim_token,
                                             std::span<const protocol::Event> events,
                                             const Deadline& deadline, std::stop_token stop) {
  json::Array list;
  list.reserve(events.size());
  for (const protocol::Event& event : events) list.push_back(event.ToJson());
  WipedText body{json::Write(json::Object{{"claimToken", std::string(claim_token.Reveal())},
                                          {"events", std::move(list)}})};
  HttpRequest request = Post("/v1/runs/" + run.text() + "/events", body.text);
  WRIT_FAULT_TRY("call.events.before");
  WRIT_ASSIGN(Answered answer, Call(request, Repeat::kUnlessAnswered, deadline, stop));
  WRIT_FAULT_TRY("call.events.after");
  if (!events.empty() && answer.response.status == 400) {
    // A plane with the extension says how far the chain is that it has. Where that is up to the
    // last of these, they came before: with an earlier call, or doubled on the way.
    Result<json::Value> refusal = json::Parse(answer.response.body, {.max_bytes = 64 * 1024});
    if (refusal && refusal->FindString("head") == events.back().hash.ToHex()) return RunSignals{};
  }
  if (answer.after_silence &&
      (answer.response.status == 400 ||
       (answer.response.status == 409 && CodeOf(answer.response.body) != "run.ended")))
    return RunSignals{};
  return ReadSignals("POST", answer.response);
}

Result<std::optional<json::Value>> PlaneClient::Complete(
    const protocol::RunId& run, const Secret& claim_token, const Secret* runner_token,
    const json::Value& receipt, const Deadline& deadline, std::stop_token stop) {
  json::Object members{{"claimToken", std::string(claim_token.Reveal())}, {"receipt", receipt}};
  if (runner_token != nullptr) members.Set("runnerToken", std::string(runner_token->Reveal()));
  WipedText body{json::Write(std::move(members))};
  HttpRequest request = Post("/v1/runs/" + run.text() + "/complete", body.text, kClaimAnswer);
  WRIT_FAULT_TRY("call.complete.before");
  WRIT_ASSIGN(Answered answer, Call(request, Repeat::kUnlessAnswered, deadline, stop));
  WRIT_FAULT_TRY("call.complete.after");
  if (answer.response.status == 409) {
    const bool ended = CodeOf(answer.response.body) == "run.ended";
    // Whether the receipt that the plane has is this one is in the answer of planes with the
    // extension.
    Result<json::Value> body_of = json::Parse(answer.response.body);
    const json::Value* stored = body_of ? body_of->Find("receipt") : nullptr;
    if (stored != nullptr && stored->is_object() &&
        protocol::HashWithout(*stored, "signatures") ==
            protocol::HashWithout(receipt, "signatures"))
      return std::optional<json::Value>(*stored);
    if (answer.after_silence && stored == nullptr && !ended) return std::optional<json::Value>();
    Error error = Refused("POST", answer.response);
    if (stored != nullptr) error.code = "plane.run_ended";  // with another receipt
    return error;
  }
  WRIT_ASSIGN(json::Value value, ReadJson("POST", answer.response));
  const json::Value* countersigned = value.Find("receipt");
  if (countersigned == nullptr || !countersigned->is_object())
    return Nonsense("POST", answer.response, "no member \"receipt\"");
  return std::optional<json::Value>(*countersigned);
}

}  // namespace writ::runner
