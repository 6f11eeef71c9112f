// The calls about offers and leases (protocol.md section 6).
#include "http/answers.h"
#include "http/parameters.h"

namespace writ::plane::http {
namespace {

constexpr json::TextRule kToken{.max_bytes = 4096};

}  // namespace

Response Router::TakeOffer(const Request& request, const OfferOrder& order) {
  auto answer =
      plane_.TakeOffer(order.token, order.pool, order.wait, Abandoned(request), order.only_run);
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

}  // namespace writ::plane::http
