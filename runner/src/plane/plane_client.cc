#include "writ/runner/plane_client.h"

#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>

#include "plane/backoff.h"
#include "writ/base/file.h"
#include "writ/protocol/reader.h"

namespace writ::runner {
namespace {

constexpr std::uint64_t kSmallAnswer = 1 << 20;
constexpr std::uint64_t kClaimAnswer = 64 << 20;

HttpRequest Post(std::string path, std::string_view body, std::uint64_t max_bytes = kSmallAnswer) {
  HttpRequest request;
  request.method = "POST";
  request.path = std::move(path);
  request.content_type = "application/json";
  request.body = body;
  request.max_response_bytes = max_bytes;
  return request;
}

// A request body that holds a token: wiped when it goes.
struct WipedText {
  std::string text;
  ~WipedText() { explicit_bzero(text.data(), text.size()); }
};

bool MayRetry(int status) {
  return status == 429 || status == 502 || status == 503 || status == 504;
}

// A plane's `code` member, if it looks like one: it is shown, so it must not be able to carry
// anything else.
std::string CodeOf(const std::string& body) {
  if (body.size() > 64 * 1024) return {};
  Result<json::Value> value = json::Parse(body, {.max_depth = 16, .max_bytes = 64 * 1024});
  if (!value) return {};
  std::string code(value->FindString("code").value_or(""));
  bool plain =
      !code.empty() && code.size() <= 64 && std::all_of(code.begin(), code.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
      });
  return plain ? code : std::string();
}

// Moves a text member out of a parsed answer without leaving a copy behind (L8).
Secret TakeSecret(json::Object& object, std::string_view name) {
  json::Value* value = object.Find(name);
  if (value == nullptr || value->if_string() == nullptr) return {};
  return Secret::Consume(const_cast<std::string&>(*value->if_string()));
}

}  // namespace

Result<PlaneClient> PlaneClient::Open(const HttpEndpoint& endpoint, const Clock& clock) {
  WRIT_ASSIGN(HttpClient http, HttpClient::Open(endpoint, clock));
  return PlaneClient(std::move(http), clock);
}

Result<PlaneClient::Answered> PlaneClient::Call(const HttpRequest& request, Repeat repeat,
                                                const Deadline& deadline, std::stop_token stop) {
  Backoff backoff;
  bool silence = false;
  int internal_errors = 0;
  for (;;) {
    Result<HttpResponse> answer = http_.Do(request, deadline, stop);
    bool again = false;
    if (answer) {
      if (answer->date) {
        if (auto theirs = ParseHttpDate(*answer->date)) clock_offset_ = *theirs - clock_->Now();
      }
      again = MayRetry(answer->status) ||
              (answer->status == 500 && repeat == Repeat::kAlways && ++internal_errors < 3);
      if (!again) return Answered{std::move(answer).value(), silence};
    } else {
      if (answer.error().kind != ErrorKind::kUnavailable) return std::move(answer).error();
      again = true;
      silence = true;
    }
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
  return Error{.kind = kind,
               .code = response.status < 400 ? "plane.nonsense" : "plane.refused",
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
  WRIT_ASSIGN(Answered answer, Call(request, Repeat::kAlways, deadline, stop));
  WRIT_ASSIGN(json::Value value, ReadJson("GET", answer.response));
  const json::Value* ok = value.Find("ok");
  if (ok == nullptr || ok->if_bool() == nullptr)
    return Nonsense("GET", answer.response, "no member \"ok\"");
  PlaneInfo info;
  if (const json::Value* list = value.Find("extensions");
      list != nullptr && list->if_array() != nullptr) {
    for (const json::Value& item : *list->if_array())
      if (item.if_string() != nullptr && *item.if_string() == "writ.1") info.extended = true;
  }
  return info;
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

Result<std::optional<ClaimAnswer>> PlaneClient::Claim(const Secret& runner_token,
                                                      const std::string& pool,
                                                      std::optional<std::chrono::milliseconds> wait,
                                                      const Deadline& deadline,
                                                      std::stop_token stop,
                                                      const std::string& only_run) {
  json::Object members{{"runnerToken", std::string(runner_token.Reveal())}, {"pool", pool}};
  if (wait) members.Set("waitMs", wait->count());
  if (!only_run.empty()) members.Set("runId", only_run);
  WipedText body{json::Write(std::move(members))};
  HttpRequest request = Post("/v1/claims", body.text, kClaimAnswer);
  WRIT_ASSIGN(Answered answer, Call(request, Repeat::kUnlessAnswered, deadline, stop));
  Result<json::Value> parsed = ReadJson("POST", answer.response);
  explicit_bzero(answer.response.body.data(), answer.response.body.size());
  if (!parsed) return std::move(parsed).error();
  json::Object& object = parsed->object();
  if (const json::Value* empty = object.Find("empty");
      empty != nullptr && empty->if_bool() != nullptr && *empty->if_bool())
    return std::optional<ClaimAnswer>();
  json::Issues issues;
  json::ObjectReader reader(issues, *parsed);
  ClaimAnswer claim;
  claim.run_id = reader.As<protocol::RunId>("runId");
  reader.String("claimToken", {.min_bytes = 1, .max_bytes = 64 * 1024});
  const json::Value* contract = reader.Require("contract");
  const json::Value* events = reader.Require("events");
  if (contract != nullptr && !contract->is_object())
    issues.Add("object.type", "/contract", "must be an object");
  if (events != nullptr && !events->is_array())
    issues.Add("object.type", "/events", "must be an array");
  if (reader.Has("secrets")) {
    reader.ForEachObject(
        "secrets",
        [](json::ObjectReader& secret) {
          secret.As<protocol::SecretName>("name");
          secret.String("value");
        },
        1000);
  }
  if (!issues.empty()) return Nonsense("POST", answer.response, issues.list().front().ToString());
  claim.contract = *contract;
  claim.events = *events;
  if (json::Value* secrets = object.Find("secrets")) {
    for (json::Value& secret : secrets->array()) {
      std::string name(secret.FindString("name").value_or(""));
      claim.secrets.push_back({std::move(name), TakeSecret(secret.object(), "value")});
    }
  }
  claim.claim_token = TakeSecret(object, "claimToken");
  return std::optional<ClaimAnswer>(std::move(claim));
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
  WRIT_ASSIGN(Answered answer, Call(request, Repeat::kUnlessAnswered, deadline, stop));
  if (answer.after_silence && (answer.response.status == 400 || answer.response.status == 409))
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
  WRIT_ASSIGN(Answered answer, Call(request, Repeat::kUnlessAnswered, deadline, stop));
  if (answer.after_silence && answer.response.status == 409) return std::optional<json::Value>();
  WRIT_ASSIGN(json::Value value, ReadJson("POST", answer.response));
  const json::Value* countersigned = value.Find("receipt");
  if (countersigned == nullptr || !countersigned->is_object())
    return Nonsense("POST", answer.response, "no member \"receipt\"");
  return std::optional<json::Value>(*countersigned);
}

Result<std::uint64_t> PlaneClient::GetBlob(const protocol::Digest& digest,
                                           const Secret& claim_token, int fd,
                                           std::uint64_t max_bytes, const Deadline& deadline,
                                           std::stop_token stop) {
  // A transfer that breaks off is begun again, so the loop is here and each attempt starts an empty
  // file.
  Backoff backoff;
  for (;;) {
    if (ftruncate(fd, 0) != 0 || lseek(fd, 0, SEEK_SET) != 0)
      return SysError(errno, "transfer.write", "could not write a blob's file");
    protocol::Sha256Hasher hasher;
    std::uint64_t bytes = 0;
    Status written;
    HttpRequest request;
    request.path = "/v1/blobs/" + digest.ToHex();
    request.bearer = &claim_token;
    request.max_response_bytes = max_bytes;
    request.sink = [&](std::string_view piece) {
      hasher.Update(piece);
      bytes += piece.size();
      written = WriteAll(fd, piece);
      return written.has_value();
    };
    Result<HttpResponse> answer = http_.Do(request, deadline, stop);
    if (!written) return std::move(written).error();
    if (answer && !MayRetry(answer->status) && answer->status != 500) {
      if (answer->status != 200) return Refused("GET", *answer);
      if (hasher.Finish() != digest)
        return Error{.kind = ErrorKind::kIntegrity,
                     .code = "transfer.blob_hash",
                     .message = "the plane at " + http_.origin().host +
                                " gave other bytes than those of blob " + digest.ToHex(),
                     .hint = "its store is damaged, or something on the way changes answers"};
      return bytes;
    }
    if (!answer && answer.error().kind != ErrorKind::kUnavailable) return std::move(answer).error();
    auto pause = backoff.Next();
    if (pause >= deadline.Left() || !Backoff::Pause(pause, stop)) {
      if (!answer) return std::move(answer).error();
      return Refused("GET", *answer);
    }
  }
}

Status PlaneClient::PutBlob(std::string_view bytes, const Secret& claim_token,
                            const Deadline& deadline, std::stop_token stop) {
  HttpRequest request = Post("/v1/blobs", bytes);
  request.content_type = "application/octet-stream";
  request.bearer = &claim_token;
  WRIT_ASSIGN(Answered answer, Call(request, Repeat::kAlways, deadline, stop));
  WRIT_ASSIGN(json::Value value, ReadJson("POST", answer.response));
  if (value.FindString("hash") != protocol::Sha256(bytes).ToHex())
    return Error{.kind = ErrorKind::kIntegrity,
                 .code = "transfer.blob_hash",
                 .message = "the plane at " + http_.origin().host +
                            " named another hash than that of the blob it was given"};
  return {};
}

Result<RunSignals> PlaneClient::Renew(const protocol::RunId& run, const Secret& claim_token,
                                      const Deadline& deadline, std::stop_token stop) {
  WipedText body{json::Write(json::Object{{"claimToken", std::string(claim_token.Reveal())}})};
  HttpRequest request = Post("/v1/runs/" + run.text() + "/lease", body.text);
  WRIT_ASSIGN(Answered answer, Call(request, Repeat::kAlways, deadline, stop));
  if (answer.response.status == 404)
    return Error{.kind = ErrorKind::kUnsupported,
                 .code = "plane.no_such_call",
                 .message = "the plane at " + http_.origin().host + " renews no leases"};
  return ReadSignals("POST", answer.response);
}

Status PlaneClient::AppendLog(const protocol::RunId& run, const Secret& claim_token,
                              std::uint64_t offset, std::string_view bytes,
                              const Deadline& deadline, std::stop_token stop) {
  HttpRequest request =
      Post("/v1/runs/" + run.text() + "/log?offset=" + std::to_string(offset), bytes);
  request.content_type = "application/octet-stream";
  request.bearer = &claim_token;
  WRIT_ASSIGN(Answered answer, Call(request, Repeat::kAlways, deadline, stop));
  if (answer.response.status == 404)
    return Error{.kind = ErrorKind::kUnsupported,
                 .code = "plane.no_such_call",
                 .message = "the plane at " + http_.origin().host + " takes no live output"};
  if (answer.response.status != 200) return Refused("POST", answer.response);
  return {};
}

}  // namespace writ::runner
