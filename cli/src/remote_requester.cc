#include <algorithm>

#include "requester.h"
#include "writ/base/file.h"
#include "writ/protocol/digest.h"
#include "writ/protocol/reader.h"
#include "writ/runner/http_client.h"

namespace writ::cli {
namespace {

using namespace std::chrono_literals;

constexpr auto kTransferTimeout = 600s;
constexpr std::uint64_t kMaxAnswer = std::uint64_t{256} << 20;

Error Nonsense(std::string_view call) {
  return Error{ErrorKind::kUnavailable, "plane.bad_answer",
               "the plane's answer to " + std::string(call) + " is not what the protocol says",
               "is this the URL of a plane?"};
}

// A plane answered that knows its calls: what it has not is what was named, and not the address.
std::string HintForAbsent(std::string_view code) {
  if (code.starts_with("runner."))
    return "list the runners of that plane: `writ runners`, with --plane and --token-file as here";
  if (code.starts_with("run."))
    return "list the runs of that plane: `writ runs`, with --plane and --token-file as here";
  return "";
}

// The plane's own words for a refusal, as an Error. Its text is data from outside: bounded, shown
// escaped.
Error Refusal(const runner::HttpResponse& response, std::string_view call) {
  Error error{ErrorKind::kUnavailable, "plane.error", "", ""};
  switch (response.status) {
    case 400:
    case 413:
      error.kind = ErrorKind::kInvalid;
      break;
    case 401:
      error.kind = ErrorKind::kDenied;
      error.hint = "is the token in --token-file this plane's, and not revoked?";
      break;
    case 403:
      error.kind = ErrorKind::kDenied;
      error.hint = "ask an administrator of the plane for a principal that has the role";
      break;
    case 404:
      error.kind = ErrorKind::kNotFound;
      error.hint = "is this the URL of a plane, without anything behind the port?";
      break;
    case 409:
      error.kind = ErrorKind::kConflict;
      break;
    case 429:
      error.kind = ErrorKind::kOverloaded;
      error.hint = "wait a moment and ask again";
      break;
    default:
      error.hint = response.status >= 500 ? "its log says why; ask again in a moment"
                                          : "name the plane's own URL: redirects are not followed";
  }
  error.message =
      "the plane refused " + std::string(call) + " with status " + std::to_string(response.status);
  auto body = json::Parse(response.body, {.max_depth = 16, .max_bytes = 1 << 20});
  if (!body) return error;
  if (auto code = body->FindString("code")) error.code = std::string(code->substr(0, 64));
  // Our planes have a finer code beside the protocol's, and a hint.
  if (auto detail = body->FindString("detail")) error.code = std::string(detail->substr(0, 64));
  if (auto text = body->FindString("error")) error.message = std::string(text->substr(0, 1024));
  if (auto hint = body->FindString("hint"); hint && response.status != 401)
    error.hint = std::string(hint->substr(0, 1024));
  else if (response.status == 404 && body->FindString("detail"))
    error.hint = HintForAbsent(error.code);
  return error;
}

// Whoever reads it verifies it; here only that it is one.
Result<std::string> BundleOf(runner::HttpResponse& response, std::string_view call) {
  auto bundle = json::Parse(response.body, {.max_bytes = kMaxAnswer});
  if (!bundle || bundle->Find("contract") == nullptr || bundle->Find("events") == nullptr)
    return Nonsense(call);
  return std::move(response.body);
}

std::vector<std::string> TextsOf(const json::Value* value) {
  std::vector<std::string> out;
  if (value == nullptr || value->if_array() == nullptr) return out;
  for (const json::Value& item : value->array())
    out.push_back(item.if_string() != nullptr ? item.string() : json::Write(item));
  return out;
}

std::string TextOf(const json::Value& value, std::string_view name) {
  return std::string(value.FindString(name).value_or(""));
}

std::optional<plane::RunSummary> ReadSummary(const json::Value& value) {
  plane::RunSummary run;
  run.run_id = TextOf(value, "runId");
  auto status = protocol::ParseRunState(TextOf(value, "status"));
  auto created = ParseRfc3339(TextOf(value, "createdAt"));
  auto updated = ParseRfc3339(TextOf(value, "updatedAt"));
  if (run.run_id.empty() || !status || !created || !updated) return std::nullopt;
  run.status = *status;
  run.created_at = *created;
  run.updated_at = *updated;
  run.consent_requirements = TextsOf(value.Find("consentRequirements"));
  run.agent_kind = TextOf(value, "agentKind");
  run.pool = TextOf(value, "pool");
  run.prompt = TextOf(value, "prompt");
  if (const json::Value* who = value.Find("requestedBy"))
    run.requested_by = {
        protocol::ParseActorKind(TextOf(*who, "kind")).value_or(protocol::ActorKind::kHuman),
        TextOf(*who, "id")};
  run.failure = TextOf(value, "failure");
  const json::Value* cancel = value.Find("cancelRequested");
  run.cancel_requested = cancel != nullptr && cancel->if_bool() != nullptr && *cancel->if_bool();
  if (const json::Value* closed = value.Find("closedBy"))
    run.closed_reason = TextOf(*closed, "reason");
  run.retry_of = TextOf(value, "retryOf");
  run.retried_as = TextOf(value, "retriedAs");
  if (const json::Value* waiting = value.Find("waiting"))
    run.waiting = plane::Waiting{TextOf(*waiting, "code"), TextOf(*waiting, "message"),
                                 TextOf(*waiting, "mend")};
  const json::Value* late = value.Find("lateReceipt");
  run.has_late_receipt = late != nullptr && late->if_bool() != nullptr && *late->if_bool();
  const json::Value* receipt = value.Find("hasReceipt");
  run.has_receipt = value.Find("receipt") != nullptr ||
                    (receipt != nullptr && receipt->if_bool() != nullptr && *receipt->if_bool());
  return run;
}

class RemoteRequester final : public Requester {
 public:
  RemoteRequester(runner::HttpClient client, Secret token, std::string who,
                  std::chrono::milliseconds call_timeout, const Clock& clock)
      : client_(std::move(client)),
        token_(std::move(token)),
        who_(std::move(who)),
        call_timeout_(call_timeout),
        clock_(clock) {}

  Result<plane::Submission> Submit(std::string_view body) override {
    WRIT_ASSIGN(std::string asked, WithAsker(body));
    WRIT_ASSIGN(runner::HttpResponse response,
                Call("POST", "/v1/runs", "application/json", asked, call_timeout_));
    auto value = json::Parse(response.body, {.max_depth = 64, .max_bytes = kMaxAnswer});
    if (!value) return Nonsense("the run request");
    plane::Submission out;
    if (response.status == 403 && value->Find("reasons") != nullptr) {
      out.kind = plane::Submission::Kind::kDenied;
      out.reasons = TextsOf(value->Find("reasons"));
      return out;
    }
    if (response.status == 400 && value->Find("issues") != nullptr) {
      out.kind = plane::Submission::Kind::kInvalid;
      out.issues = TextsOf(value->Find("issues"));
      return out;
    }
    if (response.status != 200) return Refusal(response, "the run request");
    if (const json::Value* dry = value->Find("dryRun");
        dry != nullptr && dry->if_bool() != nullptr && *dry->if_bool()) {
      out.kind = plane::Submission::Kind::kDryRun;
      out.report = response.body;
      return out;
    }
    out.run_id = TextOf(*value, "runId");
    auto status = protocol::ParseRunState(TextOf(*value, "status"));
    if (out.run_id.empty() || !status || !protocol::RunId::Parse(out.run_id))
      return Nonsense("the run request");
    out.kind = plane::Submission::Kind::kAccepted;
    out.status = *status;
    out.consent_requirements = TextsOf(value->Find("consentRequirements"));
    return out;
  }

  Result<plane::RunState> Approve(const std::string& run_id,
                                  const std::optional<plane::Actor>& actor) override {
    WRIT_ASSIGN(json::Value answer, Act(run_id, "approve", actor));
    auto status = protocol::ParseRunState(TextOf(answer, "status"));
    if (!status) return Nonsense("the approval");
    return *status;
  }
  Result<plane::CancelResult> Cancel(const std::string& run_id,
                                     const std::optional<plane::Actor>& actor) override {
    WRIT_ASSIGN(json::Value answer, Act(run_id, "cancel", actor));
    auto status = protocol::ParseRunState(TextOf(answer, "status"));
    if (!status) return Nonsense("the cancellation");
    const json::Value* requested = answer.Find("cancelRequested");
    return plane::CancelResult{
        *status, requested != nullptr && requested->if_bool() != nullptr && *requested->if_bool()};
  }
  Result<std::vector<plane::RunSummary>> Runs() override {
    WRIT_ASSIGN(json::Value answer, GetJson("/v1/runs", "the list of runs"));
    const json::Value* list = answer.if_array() != nullptr ? &answer : answer.Find("runs");
    if (list == nullptr || list->if_array() == nullptr) return Nonsense("the list of runs");
    std::vector<plane::RunSummary> out;
    for (const json::Value& item : list->array()) {
      auto run = ReadSummary(item);
      if (!run) return Nonsense("the list of runs");
      out.push_back(std::move(*run));
    }
    return out;
  }
  Result<plane::RunDetail> Run(const std::string& run_id) override {
    return ReadRun(run_id, {}, "");
  }
  Result<plane::RunDetail> WaitRun(const std::string& run_id, WallTime after,
                                   std::chrono::milliseconds wait) override {
    return ReadRun(run_id, wait,
                   "?waitMs=" + std::to_string(wait.count()) + "&after=" + FormatRfc3339(after));
  }
  Result<plane::LogChunk> ReadLog(const std::string& run_id, plane::LogStream stream,
                                  std::uint64_t offset, std::chrono::milliseconds wait) override {
    WRIT_TRY(CheckRunId(run_id));
    std::string path = "/v1/runs/" + run_id + "/log?offset=" + std::to_string(offset) +
                       "&waitMs=" + std::to_string(wait.count());
    if (stream == plane::LogStream::kStderr) path += "&stream=stderr";
    if (stream == plane::LogStream::kProgress) path += "&stream=progress";
    WRIT_ASSIGN(runner::HttpResponse response, Call("GET", path, "", "", wait + call_timeout_));
    if (response.status != 200) return Refusal(response, "the live output");
    plane::LogChunk chunk;
    chunk.offset = offset;
    chunk.bytes = std::move(response.body);
    chunk.size = offset + chunk.bytes.size();
    chunk.complete = chunk.bytes.empty();
    return chunk;
  }
  Result<std::string> Bundle(const std::string& run_id) override {
    WRIT_TRY(CheckRunId(run_id));
    WRIT_ASSIGN(runner::HttpResponse response,
                Call("GET", "/v1/runs/" + run_id + "/bundle", "", "", kTransferTimeout));
    if (response.status != 200) return Refusal(response, "the bundle");
    return BundleOf(response, "the bundle");
  }
  Result<std::optional<std::vector<plane::ArtifactInfo>>> Artifacts(
      const std::string& run_id) override {
    WRIT_TRY(CheckRunId(run_id));
    WRIT_ASSIGN(runner::HttpResponse response,
                Call("GET", "/v1/runs/" + run_id + "/artifacts", "", "", kTransferTimeout));
    // Of a run that is not there, the bundle tells.
    if (response.status == 404 || response.status == 405)
      return std::optional<std::vector<plane::ArtifactInfo>>{};
    if (response.status != 200) return Refusal(response, "the artifacts");
    auto answer = json::Parse(response.body, {.max_bytes = std::size_t{64} << 20});
    if (!answer || answer->if_array() == nullptr) return Nonsense("the artifacts");
    std::vector<plane::ArtifactInfo> out;
    for (const json::Value& item : answer->array()) {
      plane::ArtifactInfo info;
      info.kind = TextOf(item, "kind");
      info.hash = TextOf(item, "hash");
      info.path = TextOf(item, "path");
      info.data_class = TextOf(item, "dataClass");
      const json::Value* bytes = item.Find("bytes");
      const auto number = bytes != nullptr ? bytes->AsInteger() : std::nullopt;
      if (number && *number >= 0) info.bytes = static_cast<std::uint64_t>(*number);
      const json::Value* pruned = item.Find("pruned");
      info.pruned = pruned != nullptr && pruned->if_bool() != nullptr && *pruned->if_bool();
      if (info.kind.empty() || info.hash.empty()) return Nonsense("the artifacts");
      out.push_back(std::move(info));
    }
    return std::optional(std::move(out));
  }
  Result<std::string> LateBundle(const std::string& run_id) override {
    WRIT_TRY(CheckRunId(run_id));
    WRIT_ASSIGN(runner::HttpResponse response,
                Call("GET", "/v1/runs/" + run_id + "/bundle?late=1", "", "", kTransferTimeout));
    if (response.status != 200) return Refusal(response, "the late bundle");
    return BundleOf(response, "the late bundle");
  }
  Status RevokeRunner(const std::string& runner_id) override {
    return ActOnRunner(runner_id, "revoke");
  }
  Status AskRotation(const std::string& runner_id) override {
    return ActOnRunner(runner_id, "rotate");
  }
  Status Export(WallTime since,
                const std::function<Status(std::string_view line)>& write) override {
    WRIT_ASSIGN(runner::HttpResponse response,
                Call("GET", "/v1/export?since=" + FormatRfc3339(since), "", "", kTransferTimeout));
    if (response.status != 200) return Refusal(response, "the export");
    std::string_view rest = response.body;
    while (!rest.empty()) {
      std::size_t end = rest.find('\n');
      if (end == std::string_view::npos) end = rest.size();
      if (end > 0) {
        auto entry = json::Parse(rest.substr(0, end), {.max_bytes = kMaxAnswer});
        if (!entry || (entry->Find("runId") == nullptr && entry->Find("chain") == nullptr))
          return Nonsense("the export");
        WRIT_TRY(write(rest.substr(0, end)));
      }
      rest.remove_prefix(std::min(rest.size(), end + 1));
    }
    return {};
  }
  Result<plane::Plane::PolicyDocument> Policy() override {
    WRIT_ASSIGN(json::Value answer, GetJson("/v1/policy", "the policy"));
    const json::Value* policy = answer.Find("policy");
    std::string hash = TextOf(answer, "policyHash");
    if (policy == nullptr) policy = &answer;
    if (!policy->FindString("version")) return Nonsense("the policy");
    if (hash.empty()) hash = protocol::HashValue(*policy).ToHex();
    return plane::Plane::PolicyDocument{json::Write(*policy), hash};
  }
  Result<std::vector<plane::RunnerInfo>> Runners() override {
    WRIT_ASSIGN(json::Value answer, GetJson("/v1/runners", "the list of runners"));
    const json::Value* list = answer.Find("runners");
    if (list == nullptr || list->if_array() == nullptr) return Nonsense("the list of runners");
    std::vector<plane::RunnerInfo> out;
    for (const json::Value& item : list->array()) {
      plane::RunnerInfo runner;
      runner.runner_id = TextOf(item, "runnerId");
      runner.pool = TextOf(item, "pool");
      runner.key_id = TextOf(item, "keyId");
      runner.public_key_pem = TextOf(item, "publicKeyPem");
      runner.enrolled_at = ParseRfc3339(TextOf(item, "enrolledAt")).value_or(WallTime{});
      const json::Value* revoked = item.Find("revoked");
      runner.revoked = revoked != nullptr && revoked->if_bool() != nullptr && *revoked->if_bool();
      runner.heard_at = ParseRfc3339(TextOf(item, "heardAt"));
      if (const json::Value* can = item.Find("capabilities"))
        runner.capabilities = json::Write(*can);
      if (const json::Value* keys = item.Find("retiredKeys"); keys && keys->if_array()) {
        for (const json::Value& key : keys->array())
          runner.retired_keys.push_back({TextOf(key, "keyId"), TextOf(key, "publicKeyPem")});
      }
      if (runner.runner_id.empty()) return Nonsense("the list of runners");
      out.push_back(std::move(runner));
    }
    return out;
  }
  Result<plane::IssuedToken> CreateEnrollToken(std::chrono::seconds lifetime,
                                               std::optional<std::string> pool) override {
    json::Object body{{"ttlSeconds", lifetime.count()}};
    body.SetOptional("pool", pool);
    WRIT_ASSIGN(runner::HttpResponse response, Call("POST", "/v1/enroll-tokens", "application/json",
                                                    json::Write(std::move(body)), call_timeout_));
    if (response.status != 200) return Refusal(response, "the enrolment token");
    auto value = json::Parse(response.body);
    if (!value || TextOf(*value, "token").empty()) return Nonsense("the enrolment token");
    auto expires = ParseRfc3339(TextOf(*value, "expiresAt"));
    return plane::IssuedToken{TextOf(*value, "token"), expires.value_or(WallTime{})};
  }

  Result<bool> HasBlob(const std::string& hash) override {
    WRIT_TRY(CheckHash(hash));
    WRIT_ASSIGN(runner::HttpResponse response,
                Call("HEAD", "/v1/blobs/" + hash, "", "", call_timeout_));
    return response.status == 200;  // a plane without HEAD gets the blob again
  }
  Status PutBlob(std::string_view bytes, const std::string& expected_hash) override {
    WRIT_ASSIGN(runner::HttpResponse response,
                Call("POST", "/v1/blobs", "application/octet-stream", bytes, kTransferTimeout));
    if (response.status != 200) return Refusal(response, "a blob");
    auto value = json::Parse(response.body);
    if (!value || TextOf(*value, "hash") != expected_hash)
      return Error{ErrorKind::kIntegrity, "plane.blob_hash",
                   "the plane stored a blob under another hash than its bytes have", "try again"};
    return {};
  }
  Result<std::string> GetBlob(const std::string& hash, std::uint64_t limit) override {
    WRIT_TRY(CheckHash(hash));
    WRIT_ASSIGN(runner::HttpResponse response,
                Call("GET", "/v1/blobs/" + hash, "", "", kTransferTimeout, limit));
    if (response.status != 200) return Refusal(response, "a blob");
    if (protocol::Sha256(response.body).ToHex() != hash)
      return Error{ErrorKind::kIntegrity, "blob.damaged",
                   "the blob " + hash + " is not what its name says",
                   "the plane's store is damaged or lies"};
    return std::move(response.body);
  }

 private:
  static Status CheckRunId(const std::string& run_id) {
    auto parsed = protocol::RunId::Parse(run_id);
    return parsed ? Status() : Status(std::move(parsed).error());
  }
  static Status CheckHash(const std::string& hash) {
    auto parsed = protocol::Digest::Parse(hash);
    return parsed ? Status() : Status(std::move(parsed).error());
  }
  // How this user is to be named in a call: not at all where the plane goes by the token. A plane
  // without our extensions asks for a name, and takes any.
  Result<std::optional<plane::Actor>> SelfToName() {
    if (!by_token_) {
      WRIT_ASSIGN(json::Value health, GetJson("/v1/health", "the question how it is"));
      const auto extensions = TextsOf(health.Find("extensions"));
      by_token_ = std::find(extensions.begin(), extensions.end(), "writ.1") != extensions.end();
    }
    if (*by_token_) return std::optional<plane::Actor>();
    return std::optional(plane::Actor{protocol::ActorKind::kHuman, who_});
  }
  // The run request, with requestedBy where it has to be named.
  Result<std::string> WithAsker(std::string_view body) {
    WRIT_ASSIGN(json::Value value, json::Parse(body, {.max_depth = 64, .max_bytes = kMaxAnswer}));
    const json::Value* request = value.Find("request");
    if (request == nullptr || !request->is_object() || request->Find("requestedBy") != nullptr)
      return std::string(body);
    WRIT_ASSIGN(std::optional<plane::Actor> self, SelfToName());
    if (!self) return std::string(body);
    json::Object named = request->object();
    named.Set("requestedBy", self->ToJson());
    value.object().Set("request", std::move(named));
    return json::Write(value);
  }
  Result<runner::HttpResponse> Call(std::string_view method, const std::string& path,
                                    std::string_view content_type, std::string_view body,
                                    std::chrono::milliseconds timeout,
                                    std::uint64_t limit = kMaxAnswer) {
    runner::HttpRequest request;
    request.method = method;
    request.path = path;
    request.content_type = content_type;
    request.body = body;
    request.bearer = &token_;
    request.max_response_bytes = limit;
    // Files take their time, and their plane none to begin with them.
    if (timeout == kTransferTimeout && method == "GET") request.silence = call_timeout_;
    return client_.Do(request, runner::Deadline::After(clock_, timeout), {});
  }
  Result<json::Value> GetJson(const std::string& path, std::string_view call,
                              std::chrono::milliseconds wait = {}) {
    WRIT_ASSIGN(runner::HttpResponse response, Call("GET", path, "", "", wait + call_timeout_));
    if (response.status != 200) return Refusal(response, call);
    auto value = json::Parse(response.body, {.max_depth = 64, .max_bytes = kMaxAnswer});
    if (!value) return Nonsense(call);
    return std::move(*value);
  }
  Status ActOnRunner(const std::string& runner_id, const std::string& verb) {
    auto id = protocol::RunnerId::Parse(runner_id);
    if (!id) return std::move(id).error();
    WRIT_ASSIGN(runner::HttpResponse response, Call("POST", "/v1/runners/" + runner_id + "/" + verb,
                                                    "application/json", "{}", call_timeout_));
    if (response.status == 200 || response.status == 202) return {};
    return Refusal(response, "to " + verb + " the runner");
  }
  Result<json::Value> Act(const std::string& run_id, const std::string& verb,
                          std::optional<plane::Actor> actor) {
    WRIT_TRY(CheckRunId(run_id));
    if (!actor) {
      WRIT_ASSIGN(actor, SelfToName());
    }
    json::Object body;
    if (actor) body.Set("actor", actor->ToJson());
    WRIT_ASSIGN(runner::HttpResponse response,
                Call("POST", "/v1/runs/" + run_id + "/" + verb, "application/json",
                     json::Write(std::move(body)), call_timeout_));
    if (response.status != 200 && response.status != 202)
      return Refusal(response, "to " + verb + " the run");
    auto value = json::Parse(response.body);
    if (!value) return Nonsense(verb);
    return std::move(*value);
  }
  Result<plane::RunDetail> ReadRun(const std::string& run_id, std::chrono::milliseconds wait,
                                   const std::string& query) {
    WRIT_TRY(CheckRunId(run_id));
    WRIT_ASSIGN(json::Value answer, GetJson("/v1/runs/" + run_id + query, "the run", wait));
    auto summary = ReadSummary(answer);
    if (!summary) return Nonsense("the run");
    plane::RunDetail detail;
    detail.summary = std::move(*summary);
    if (const json::Value* events = answer.Find("events");
        events != nullptr && events->if_array() != nullptr) {
      for (const json::Value& event : events->array()) detail.events.push_back(json::Write(event));
    }
    if (const json::Value* contract = answer.Find("contract"))
      detail.contract = json::Write(*contract);
    if (const json::Value* receipt = answer.Find("receipt");
        receipt != nullptr && receipt->if_object() != nullptr)
      detail.receipt = json::Write(*receipt);
    return detail;
  }

  runner::HttpClient client_;
  Secret token_;
  const std::string who_;
  const std::chrono::milliseconds call_timeout_;  // for the answer of a call that moves no blobs
  const Clock& clock_;
  std::optional<bool> by_token_;  // the plane knows the caller by the token alone; asked once
};

}  // namespace

Result<std::unique_ptr<Requester>> MakeRemoteRequester(const PlaneAddress& address, std::string who,
                                                       const Clock& clock) {
  if (address.token_file.empty())
    return Error{
        ErrorKind::kInvalid, "cli.no_token", "--plane needs --token-file with a principal's token",
        "make one on the plane with `writ principals add NAME --role requester --out FILE`"};
  WRIT_ASSIGN(std::string text, ReadFile(address.token_file, 4096));
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' '))
    text.pop_back();
  Secret token = Secret::Consume(text);
  if (token.empty())
    return Error{
        ErrorKind::kInvalid, "cli.no_token", "the token file " + address.token_file + " is empty",
        "put the principal's token into it: `writ principals add NAME --role requester --out "
        "FILE` on the plane writes one"};
  runner::HttpEndpoint endpoint;
  endpoint.url = address.url;
  endpoint.ca_file = address.ca_file;
  endpoint.client_cert_file = address.client_cert_file;
  endpoint.client_key_file = address.client_key_file;
  endpoint.proxy = address.proxy;
  WRIT_ASSIGN(runner::HttpClient client, runner::HttpClient::Open(endpoint, clock));
  return std::unique_ptr<Requester>(std::make_unique<RemoteRequester>(
      std::move(client), std::move(token), std::move(who), address.call_timeout, clock));
}

}  // namespace writ::cli
