#include "http/router.h"

#include <algorithm>
#include <cerrno>

#include "http/answers.h"
#include "http/parameters.h"
#include "plane_metrics.h"
#include "writ/base/log.h"
#include "writ/base/log_context.h"

namespace writ::plane::http {
namespace {

// How an operation of ours answers an error; the words of `code` are the peer's.
struct Kind {
  int status;
  const char* code;
};
Kind KindOf(const Error& error) {
  switch (error.kind) {
    case ErrorKind::kInvalid:
      if (error.code == "blob.too_large" || error.code == "http.body_too_large")
        return {413, "too_large"};
      return {400, "bad_request"};
    case ErrorKind::kDenied:
      if (error.code == "unauthorized") return {401, "unauthorized"};
      if (error.code == "policy_denied") return {403, "policy_denied"};
      return {403, "forbidden"};
    case ErrorKind::kNotFound:
      return {404, "not_found"};
    case ErrorKind::kConflict:
      return {409, "conflict"};
    case ErrorKind::kOverloaded:
      return {429, "rate_limited"};
    case ErrorKind::kUnavailable:
      return {503, "unavailable"};
    case ErrorKind::kIntegrity:
      if (error.code == "blob.hash_mismatch") return {400, "bad_request"};
      return {500, "internal"};
    case ErrorKind::kUnsupported:
      return {400, "bad_request"};
    case ErrorKind::kCancelled:
    case ErrorKind::kInternal:
      break;
  }
  return {500, "internal"};
}

// What the plane's caller is told: a full disk is one, whichever file found no room (and where the
// plane keeps them is nobody's business).
Error ForCaller(const Error& error) {
  if (error.sys_errno != ENOSPC && error.sys_errno != EDQUOT) return error;
  return Error{.kind = ErrorKind::kUnavailable,
               .code = "store.full",
               .message = "the plane's disk is full",
               .hint = "the plane's operator has to make room on it; try again then"};
}

bool IsWrongCredential(const Error& error) {
  return error.code == "unauthorized" || error.code == "enroll.token" ||
         error.code == "claim.malformed";
}

}  // namespace

struct Router::Route {
  const char* method;
  std::string_view before;  // of the id
  std::string_view after;
  bool has_id;
  Handler handler;
};

const std::vector<Router::Route>& Router::Routes() {
  static const std::vector<Route> kRoutes = {
      {"GET", "/v1/health", "", false, &Router::Health},
      {"GET", "/v1/ready", "", false, &Router::Ready},
      {"POST", "/v1/runners/enroll", "", false, &Router::Enroll},
      {"POST", "/v1/claims", "", false, &Router::Claim},
      {"POST", "/v1/runs/", "/acknowledge", true, &Router::Acknowledge},
      {"POST", "/v1/runs/", "/decline", true, &Router::Decline},
      {"POST", "/v1/runs/", "/lease", true, &Router::Lease},
      {"POST", "/v1/runs/", "/late", true, &Router::Late},
      {"POST", "/v1/runners/rotate", "", false, &Router::Rotate},
      {"POST", "/v1/runners/", "/revoke", true, &Router::RevokeRunner},
      {"POST", "/v1/runners/", "/rotate", true, &Router::AskRotation},
      {"GET", "/v1/keys", "", false, &Router::Keys},
      {"POST", "/v1/runs/", "/events", true, &Router::Events},
      {"POST", "/v1/runs/", "/complete", true, &Router::Complete},
      {"POST", "/v1/runs/", "/log", true, &Router::PutLog},
      {"GET", "/v1/runs/", "/log", true, &Router::GetLog},
      {"POST", "/v1/blobs", "", false, &Router::PutBlob},
      {"PUT", "/v1/blobs/", "", true, &Router::PutPiece},
      {"GET", "/v1/blobs/", "", true, &Router::GetBlob},
      {"POST", "/v1/runs", "", false, &Router::Submit},
      {"GET", "/v1/runs", "", false, &Router::Runs},
      {"GET", "/v1/runs/", "/artifacts", true, &Router::Artifacts},
      {"GET", "/v1/runs/", "/bundle", true, &Router::Bundle},
      {"GET", "/v1/runs/", "", true, &Router::Run},
      {"POST", "/v1/runs/", "/approve", true, &Router::Approve},
      {"POST", "/v1/runs/", "/cancel", true, &Router::Cancel},
      {"GET", "/v1/runners", "", false, &Router::Runners},
      {"GET", "/v1/policy", "", false, &Router::Policy},
      {"GET", "/v1/export", "", false, &Router::Export},
      {"POST", "/v1/enroll-tokens", "", false, &Router::EnrollTokens},
      {"POST", "/v1/principals", "", false, &Router::Principals},
  };
  return kRoutes;
}

Response Router::Handle(const Request& request) {
  const std::string& path = request.head.path;
  const std::string method = request.head.method == "HEAD" ? "GET" : request.head.method;
  for (const Route& route : Routes()) {
    if (method != route.method) continue;
    if (!route.has_id) {
      if (path == route.before) return Dispatch(route, request, "");
      continue;
    }
    if (path.size() <= route.before.size() + route.after.size() ||
        !path.starts_with(route.before) || !path.ends_with(route.after)) {
      continue;
    }
    std::string id =
        path.substr(route.before.size(), path.size() - route.before.size() - route.after.size());
    // Ids are also file names: the same allow-list as in the core (L3).
    if (!protocol::RunIdRule::Accepts(id)) continue;
    return Dispatch(route, request, id);
  }
  plane_.metrics().Add(Family::kRequests, {{"route", "none"}, {"status", "404"}});
  return ErrorAnswer(404, "not_found", "no route for " + request.head.method + " " + path);
}

Response Router::Dispatch(const Route& route, const Request& request, const std::string& id) {
  const bool of_run = route.before == "/v1/runs/" && route.has_id;
  std::shared_ptr<const log::RunContext> run;
  if (of_run) run = std::make_shared<log::RunContext>(id, TraceOf(id));
  const log::InRun in_run(run);
  Response out = (this->*route.handler)(request, id);
  const std::string name = std::string(route.method) + " " + std::string(route.before) +
                           (route.has_id ? ":id" : "") + std::string(route.after);
  const std::string status = std::to_string(out.status);
  PlaneMetrics& metrics = plane_.metrics();
  metrics.Add(Family::kRequests, {{"route", name}, {"status", status}});
  if (out.status == 403) metrics.Add(Family::kRefusedRequests, {{"reason", "forbidden"}});
  out.run = std::move(run);
  return out;
}

std::string Router::TraceOf(const std::string& run_id) {
  constexpr std::size_t kMost = 4096;
  {
    std::lock_guard lock(traces_mutex_);
    if (auto known = traces_.find(run_id); known != traces_.end()) return known->second;
  }
  auto trace = plane_.TraceOf(run_id);
  if (!trace) return "";
  std::lock_guard lock(traces_mutex_);
  if (traces_.size() >= kMost) traces_.clear();
  traces_[run_id] = *trace;
  return *trace;
}

Response Router::FromError(const Error& error) {
  const Error told = ForCaller(error);
  const Kind kind = KindOf(told);
  if (kind.status == 500) {
    log::Error("plane.internal", error.ToString(), {{"code", error.code}});
    return ErrorAnswer(500, kind.code, "internal server error");
  }
  Response out = ErrorAnswer(kind.status, kind.code, told.message, told);
  if (kind.status == 429) out.headers.emplace_back("Retry-After", RetryAfter(told));
  if (kind.status == 503) {
    log::Warn("plane.unavailable", error.ToString(), {{"code", told.code}});
    out.headers.emplace_back("Retry-After", "1");
  }
  if (kind.status == 401) out.headers.emplace_back("WWW-Authenticate", "Bearer");
  return out;
}

Error Router::Counted(const Request& request, Error error) {
  if (!IsWrongCredential(error)) return error;
  const auto wait = backoff_.Failed(request.peer_group);
  PlaneMetrics& metrics = plane_.metrics();
  metrics.Add(Family::kRefusedRequests, {{"reason", "credential"}});
  if (wait.count() == 0) return error;
  metrics.Add(Family::kRefusedRequests, {{"reason", "backoff"}});
  return Error{.kind = ErrorKind::kOverloaded,
               .code = "auth.backoff",
               .message = "too many failed authentications from this address",
               .hint = "retry after " + std::to_string((wait.count() + 999) / 1000) + " s"};
}

Result<Caller> Router::Bearer(const Request& request, const std::vector<Role>& roles) {
  WRIT_ASSIGN(std::string_view token, BearerToken(request));
  auto caller = plane_.Authenticate(token);
  if (!caller) return Counted(request, std::move(caller).error());
  bool may = std::any_of(roles.begin(), roles.end(), [&](Role role) { return caller->Has(role); });
  if (!may) {
    return Error{.kind = ErrorKind::kDenied,
                 .code = "forbidden",
                 .message = "role " + std::string(RoleName(roles.front())) + " is needed"};
  }
  return caller;
}

Status Router::ClaimOrBearer(const Request& request, const std::vector<Role>& roles) {
  WRIT_ASSIGN(std::string_view token, BearerToken(request));
  auto claim = plane_.AuthenticateClaim(token);
  if (claim || claim.error().code == "runner.revoked") return claim;
  auto caller = Bearer(request, roles);
  return caller ? Status() : Status(std::move(caller).error());
}

Result<std::string> Router::Body(const Request& request, std::uint64_t limit) {
  Error too_large{
      .kind = ErrorKind::kInvalid,
      .code = "http.body_too_large",
      .message = "request body is over the limit of " + std::to_string(limit) + " bytes"};
  if (request.head.content_length.value_or(0) > limit) return too_large;
  std::string body;
  bool over = false;
  bool whole = request.read_body([&](std::string_view piece) {
    over = body.size() + piece.size() > limit;
    if (!over) body += piece;
    return !over;
  });
  if (over) return too_large;
  if (!whole) {
    return Error{
        .kind = ErrorKind::kInvalid, .code = "http.body", .message = "request body ended early"};
  }
  return body;
}

Result<json::Value> Router::JsonBody(const Request& request) {
  WRIT_ASSIGN(std::string body, Body(request));
  auto value = json::Parse(body, {.max_depth = 40, .max_bytes = plane_.config().max_json_bytes});
  if (!value) {
    return Error{.kind = ErrorKind::kInvalid,
                 .code = "request.not_json",
                 .message = "request body is not valid JSON",
                 .hint = value.error().message};
  }
  return value;
}

Response Router::Health(const Request&, const std::string&) {
  return JsonAnswer(
      200, json::Object{
               {"ok", true}, {"service", "warrant-plane"}, {"extensions", json::Array{"writ.1"}}});
}

// Anyone may ask, and the check writes to the store: its result is kept for a second.
std::string Router::NotReady() {
  std::lock_guard lock(ready_mutex_);
  const auto now = clock_.Monotonic();
  if (ready_at_.count() < 0 || now - ready_at_ > std::chrono::seconds(1)) {
    auto ready = plane_.Ready();
    if (!ready)
      log::Error("plane.not_ready", ready.error().ToString(), {{"code", ready.error().code}});
    not_ready_ = ready ? "" : ready.error().code;
    ready_at_ = now;
  }
  plane_.metrics().Set(Family::kReady, {}, not_ready_.empty() ? 1 : 0);
  return not_ready_;
}

Response Router::Ready(const Request&, const std::string&) {
  const std::string wrong = NotReady();
  if (wrong.empty()) return JsonAnswer(200, json::Object{{"ready", true}});
  return JsonAnswer(503, json::Object{{"ready", false}, {"code", wrong}});
}

Response Router::Submit(const Request& request, const std::string&) {
  auto caller = Bearer(request, {Role::kRequester});
  if (!caller) return FromError(caller.error());
  auto body = Body(request);
  if (!body) return FromError(body.error());
  auto submission = plane_.Submit(*caller, *body);
  if (!submission) return FromError(submission.error());
  return SubmissionAnswer(*submission);
}

Response Router::Runs(const Request& request, const std::string&) {
  auto caller = Bearer(request, {Role::kRequester, Role::kApprover});
  if (!caller) return FromError(caller.error());
  auto runs =
      plane_.Runs(caller->Has(Role::kApprover) ? std::nullopt : std::optional(caller->name));
  if (!runs) return FromError(runs.error());
  json::Array list;
  for (const auto& run : *runs) list.emplace_back(SummaryJson(run));
  return JsonAnswer(200, json::Object{{"runs", std::move(list)}});
}

Response Router::Run(const Request& request, const std::string& id) {
  auto caller = Bearer(request, {Role::kRequester, Role::kApprover});
  if (!caller) return FromError(caller.error());
  if (auto may = plane_.MaySee(*caller, id); !may) return FromError(may.error());
  auto wait = QueryNumber(request, "waitMs", 0);
  if (!wait) return FromError(wait.error());
  WallTime after;
  if (auto text = request.head.query.find("after"); text != request.head.query.end()) {
    auto parsed = ParseRfc3339(text->second);
    if (!parsed)
      return ErrorAnswer(400, "bad_request", "invalid request: after: must be an RFC 3339 time");
    after = *parsed;
  }
  const auto deadline = clock_.Monotonic() + PollTime(*wait);
  for (;;) {
    auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - clock_.Monotonic());
    auto run =
        plane_.WaitRun(id, after, std::clamp(left, std::chrono::milliseconds(0), kPollSlice));
    if (!run) return FromError(run.error());
    if (run->summary.updated_at <= after && left.count() > 0 && !stopping_) continue;
    return RunAnswer(*run);
  }
}

Response Router::Artifacts(const Request& request, const std::string& id) {
  auto caller = Bearer(request, {Role::kRequester, Role::kApprover});
  if (!caller) return FromError(caller.error());
  if (auto may = plane_.MaySee(*caller, id); !may) return FromError(may.error());
  auto artifacts = plane_.Artifacts(id);
  if (!artifacts) return FromError(artifacts.error());
  return ArtifactsAnswer(*artifacts);
}

Response Router::Bundle(const Request& request, const std::string& id) {
  auto caller = Bearer(request, {Role::kRequester, Role::kApprover});
  if (!caller) return FromError(caller.error());
  if (auto may = plane_.MaySee(*caller, id); !may) return FromError(may.error());
  auto late = QueryNumber(request, "late", 0);
  if (!late) return FromError(late.error());
  auto bundle = *late != 0 ? plane_.LateBundle(id) : plane_.Bundle(id);
  if (!bundle) return FromError(bundle.error());
  return RawJsonAnswer(200, std::move(*bundle));
}

Response Router::Approve(const Request& request, const std::string& id) {
  auto caller = Bearer(request, {Role::kApprover});
  if (!caller) return FromError(caller.error());
  auto body = JsonBody(request);
  if (!body) return FromError(body.error());
  json::Issues issues;
  auto actor = ReadActor(issues, *body);
  if (!issues.empty()) return IssuesAnswer(issues);
  auto status = plane_.Approve(*caller, id, actor);
  if (!status) return FromError(status.error());
  return JsonAnswer(200, json::Object{{"runId", id}, {"status", protocol::Word(*status)}});
}

Response Router::Cancel(const Request& request, const std::string& id) {
  auto caller = Bearer(request, {Role::kRequester});
  if (!caller) return FromError(caller.error());
  auto body = JsonBody(request);
  if (!body) return FromError(body.error());
  json::Issues issues;
  auto actor = ReadActor(issues, *body);
  if (!issues.empty()) return IssuesAnswer(issues);
  auto cancelled = plane_.Cancel(*caller, id, actor);
  if (!cancelled) return FromError(cancelled.error());
  json::Object out{{"runId", id}, {"status", protocol::Word(cancelled->status)}};
  if (cancelled->cancel_requested) out.Set("cancelRequested", true);
  return JsonAnswer(cancelled->cancel_requested ? 202 : 200, out);
}

Response Router::Runners(const Request& request, const std::string&) {
  auto caller = Bearer(request, {Role::kAdmin, Role::kEnroller});
  if (!caller) return FromError(caller.error());
  auto runners = plane_.Runners();
  if (!runners) return FromError(runners.error());
  json::Array list;
  for (const auto& runner : *runners) {
    json::Object entry{{"runnerId", runner.runner_id},
                       {"pool", runner.pool},
                       {"keyId", runner.key_id},
                       {"publicKeyPem", runner.public_key_pem},
                       {"enrolledAt", FormatRfc3339(runner.enrolled_at)}};
    if (runner.revoked) entry.Set("revoked", true);
    if (runner.heard_at) entry.Set("heardAt", FormatRfc3339(*runner.heard_at));
    if (auto can = json::Parse(runner.capabilities); can)
      entry.Set("capabilities", std::move(*can));
    json::Array retired;
    for (const auto& key : runner.retired_keys)
      retired.emplace_back(
          json::Object{{"keyId", key.key_id}, {"publicKeyPem", key.public_key_pem}});
    if (!retired.empty()) entry.Set("retiredKeys", std::move(retired));
    list.emplace_back(std::move(entry));
  }
  return JsonAnswer(200, json::Object{{"runners", std::move(list)}});
}

Response Router::Policy(const Request& request, const std::string&) {
  auto caller = Bearer(request, {Role::kRequester, Role::kApprover});
  if (!caller) return FromError(caller.error());
  auto policy = plane_.Policy();
  if (!policy) return FromError(policy.error());
  return RawJsonAnswer(
      200, "{\"policy\":" + policy->policy + ",\"policyHash\":\"" + policy->policy_hash + "\"}");
}

Response Router::Export(const Request& request, const std::string&) {
  auto caller = Bearer(request, {Role::kAdmin});
  if (!caller) return FromError(caller.error());
  WallTime since;
  if (auto text = request.head.query.find("since"); text != request.head.query.end()) {
    auto parsed = ParseRfc3339(text->second);
    if (!parsed)
      return ErrorAnswer(400, "bad_request", "invalid request: since: must be an RFC 3339 time");
    since = *parsed;
  }
  Response out;
  out.content_type = "application/x-ndjson";
  out.lines = [this, since](const std::function<Status(std::string_view)>& write) {
    return plane_.Export(since, write);
  };
  return out;
}

Response Router::EnrollTokens(const Request& request, const std::string&) {
  auto caller = Bearer(request, {Role::kAdmin});
  if (!caller) return FromError(caller.error());
  auto body = JsonBody(request);
  if (!body) return FromError(body.error());
  json::Issues issues;
  json::ObjectReader reader(issues, *body);
  auto pool = reader.OptionalString("pool", {.max_bytes = 128});
  auto seconds = reader.OptionalInteger("ttlSeconds", 1, 30 * 86400).value_or(3600);
  reader.RefuseUnknown();
  if (!issues.empty()) return IssuesAnswer(issues);
  auto token = plane_.CreateEnrollToken(*caller, std::chrono::seconds(seconds), pool);
  if (!token) return FromError(token.error());
  return JsonAnswer(
      200, json::Object{{"token", token->token}, {"expiresAt", FormatRfc3339(token->expires_at)}});
}

Response Router::Principals(const Request& request, const std::string&) {
  auto caller = Bearer(request, {Role::kAdmin});
  if (!caller) return FromError(caller.error());
  auto body = JsonBody(request);
  if (!body) return FromError(body.error());
  json::Issues issues;
  json::ObjectReader reader(issues, *body);
  auto name = reader.String("name", {.min_bytes = 1, .max_bytes = 128});
  std::vector<Role> roles;
  for (const auto& word : reader.Strings("roles")) {
    auto role = ParseRole(word);
    if (role) {
      roles.push_back(*role);
    } else {
      issues.Add("object.enum", reader.PointerOf("roles"),
                 "must be of admin, requester, approver, enroller");
    }
  }
  reader.RefuseUnknown();
  if (!issues.empty()) return IssuesAnswer(issues);
  auto made = plane_.CreatePrincipal(*caller, name, roles);
  if (!made) return FromError(made.error());
  json::Array words;
  for (Role role : made->principal.roles) words.emplace_back(RoleName(role));
  return JsonAnswer(200, json::Object{{"name", name}, {"roles", words}, {"token", made->token}});
}

}  // namespace writ::plane::http
