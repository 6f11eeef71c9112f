// The calls about offers, leases, late receipts, rotation and keys (protocol.md section 6).
#include "http/answers.h"
#include "http/parameters.h"

namespace writ::plane::http {
namespace {

constexpr json::TextRule kToken{.max_bytes = 4096};

}  // namespace

Response Router::TakeOffer(const Request& request, const OfferOrder& order) {
  auto answer = plane_.TakeOffer(order.token, order.pool, order.wait, Abandoned(request),
                                 order.only_run, order.can);
  if (!answer) return Answer(request, answer.error());
  if (!answer->offer) {
    json::Object out{{"empty", true}};
    if (answer->rotate) out.Set("rotate", true);
    return JsonAnswer(200, out);
  }
  return OfferJsonAnswer(*answer);
}

std::function<bool()> Router::Abandoned(const Request& request) {
  return [this, &request] { return stopping_ || (request.peer_gone && request.peer_gone()); };
}

Response Router::Acknowledge(const Request& request, const std::string& id) {
  auto body = JsonBody(request);
  if (!body) return FromError(body.error());
  json::Issues issues;
  json::ObjectReader reader(issues, *body);
  auto token = reader.String("claimToken", kToken);
  if (!issues.empty()) return IssuesAnswer(issues);
  auto taken = plane_.Acknowledge(id, token);
  if (!taken) return Answer(request, taken.error());
  return AcknowledgementAnswer(*taken);
}

Response Router::Decline(const Request& request, const std::string& id) {
  auto body = JsonBody(request);
  if (!body) return FromError(body.error());
  json::Issues issues;
  json::ObjectReader reader(issues, *body);
  auto token = reader.String("claimToken", kToken);
  auto reason = reader.OptionalString("reason", {.max_bytes = 1024}).value_or("");
  if (!issues.empty()) return IssuesAnswer(issues);
  if (auto done = plane_.Decline(id, token, reason); !done) return Answer(request, done.error());
  return JsonAnswer(200, json::Object{{"ok", true}});
}

Response Router::Lease(const Request& request, const std::string& id) {
  auto body = JsonBody(request);
  if (!body) return FromError(body.error());
  json::Issues issues;
  json::ObjectReader reader(issues, *body);
  auto token = reader.String("claimToken", kToken);
  auto runner_token = reader.OptionalString("runnerToken", kToken).value_or("");
  auto wait = PollTime(reader.OptionalInteger("waitMs").value_or(0));
  if (!issues.empty()) return IssuesAnswer(issues);
  auto lease = plane_.Lease(id, {.claim_token = token,
                                 .runner_token = runner_token,
                                 .wait = wait,
                                 .abandoned = Abandoned(request)});
  if (!lease) return Answer(request, lease.error());
  return JsonAnswer(200, LeaseJson(*lease));
}

Response Router::Late(const Request& request, const std::string& id) {
  auto body = JsonBody(request);
  if (!body) return FromError(body.error());
  json::Issues issues;
  json::ObjectReader reader(issues, *body);
  auto token = reader.OptionalString("claimToken", kToken).value_or("");
  auto runner_token = reader.String("runnerToken", kToken);
  const json::Value* events = reader.Require("events");
  const json::Value* receipt = reader.Require("receipt");
  if (!issues.empty()) return IssuesAnswer(issues);
  auto done = plane_.Late(
      id,
      {.claim_token = token, .runner_token = runner_token, .events = *events, .receipt = *receipt});
  if (!done) return Answer(request, done.error());
  return JsonAnswer(200, json::Object{{"ok", true}});
}

Response Router::Rotate(const Request& request, const std::string&) {
  auto body = JsonBody(request);
  if (!body) return FromError(body.error());
  json::Issues issues;
  json::ObjectReader reader(issues, *body);
  auto token = reader.String("runnerToken", kToken);
  auto key = reader.String("publicKeyPem", {.max_bytes = 4096});
  auto proof = reader.String("proof", {.max_bytes = 256});
  if (!issues.empty()) return IssuesAnswer(issues);
  auto fresh = plane_.Rotate({.runner_token = token, .public_key_pem = key, .proof = proof});
  if (!fresh) return Answer(request, fresh.error());
  return JsonAnswer(200, json::Object{{"runnerToken", *fresh}});
}

Response Router::RevokeRunner(const Request& request, const std::string& id) {
  auto caller = Bearer(request, {Role::kAdmin});
  if (!caller) return FromError(caller.error());
  if (auto done = plane_.RevokeRunner(*caller, id); !done) return FromError(done.error());
  return JsonAnswer(200, json::Object{{"runnerId", id}, {"revoked", true}});
}

Response Router::AskRotation(const Request& request, const std::string& id) {
  auto caller = Bearer(request, {Role::kAdmin});
  if (!caller) return FromError(caller.error());
  if (auto done = plane_.AskRotation(*caller, id); !done) return FromError(done.error());
  return JsonAnswer(202, json::Object{{"runnerId", id}, {"rotate", true}});
}

// Public: it is signed, and who verifies a receipt need not be known here.
Response Router::Keys(const Request&, const std::string&) {
  auto manifest = plane_.KeyManifest();
  if (!manifest) return FromError(manifest.error());
  return RawJsonAnswer(200, std::move(*manifest));
}

}  // namespace writ::plane::http
