// Claims, offers, leases, late bundles, rotation.
#include <string.h>

#include <algorithm>

#include "plane/plane_parts.h"
#include "writ/base/fault.h"

namespace writ::runner {

using std::chrono::milliseconds;

namespace {

constexpr milliseconds kLeastOffer{500}, kMostOffer{600'000}, kUsualOffer{10'000};
constexpr milliseconds kLeastLease{1'000}, kMostLease{86'400'000}, kUsualLease{60'000};
constexpr milliseconds kLeastRenewal{100};

LeaseTerms ReadTerms(json::ObjectReader& reader) {
  LeaseTerms terms;
  terms.lease = ClampedMillis(reader, "leaseMs", kLeastLease, kMostLease, kUsualLease);
  // Late by half a lease is too late: a lost answer needs a second attempt.
  terms.renew_after =
      ClampedMillis(reader, "renewAfterMs", kLeastRenewal, terms.lease / 2, terms.lease / 3);
  return terms;
}

std::string RunPath(const protocol::RunId& run, const char* call) {
  return "/v1/runs/" + run.text() + "/" + call;
}

}  // namespace

void PlaneClient::TakeRotation(const json::Value& answer) {
  const json::Value* rotate = answer.Find("rotate");
  rotation_asked_ = rotate != nullptr && rotate->if_bool() != nullptr && *rotate->if_bool();
}

Result<std::optional<ClaimAnswer>> PlaneClient::Claim(
    const Secret& runner_token, const std::string& pool,
    std::optional<std::chrono::milliseconds> wait, const Deadline& deadline, std::stop_token stop,
    const std::string& only_run, ClaimKind kind, const protocol::RunnerCapabilities* can) {
  json::Object members{{"runnerToken", std::string(runner_token.Reveal())}, {"pool", pool}};
  if (wait) members.Set("waitMs", wait->count());
  if (!only_run.empty()) members.Set("runId", only_run);
  if (kind == ClaimKind::kOffered) members.Set("acknowledge", true);
  if (can != nullptr) members.Set("capabilities", can->ToJson());
  WipedText body{json::Write(std::move(members))};
  HttpRequest request = Post("/v1/claims", body.text, kClaimAnswer);
  WRIT_FAULT_TRY("call.claim.before");
  WRIT_ASSIGN(Answered answer, Call(request, Repeat::kNever, deadline, stop));
  WRIT_FAULT_TRY("call.claim.after");
  Result<json::Value> parsed = ReadJson("POST", answer.response);
  explicit_bzero(answer.response.body.data(), answer.response.body.size());
  if (!parsed) return std::move(parsed).error();
  TakeRotation(*parsed);
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
  CheckSecrets(reader);
  if (kind == ClaimKind::kOffered && reader.OptionalBool("offer").value_or(false))
    claim.offer = ClampedMillis(reader, "offerMs", kLeastOffer, kMostOffer, kUsualOffer);
  if (!issues.empty()) return Nonsense("POST", answer.response, issues.list().front().ToString());
  claim.contract = *contract;
  claim.events = *events;
  claim.secrets = TakeSecrets(object);
  claim.claim_token = TakeSecret(object, "claimToken");
  return std::optional<ClaimAnswer>(std::move(claim));
}

Result<Acknowledgement> PlaneClient::Acknowledge(const protocol::RunId& run,
                                                 const Secret& claim_token,
                                                 const Deadline& deadline, std::stop_token stop) {
  WipedText body{json::Write(json::Object{{"claimToken", std::string(claim_token.Reveal())}})};
  HttpRequest request = Post(RunPath(run, "acknowledge"), body.text, kClaimAnswer);
  WRIT_FAULT_TRY("call.acknowledge.before");
  WRIT_ASSIGN(Answered answer, Call(request, Repeat::kAlways, deadline, stop));
  WRIT_FAULT_TRY("call.acknowledge.after");
  Result<json::Value> parsed = ReadJson("POST", answer.response);
  explicit_bzero(answer.response.body.data(), answer.response.body.size());
  if (!parsed) return std::move(parsed).error();
  json::Issues issues;
  json::ObjectReader reader(issues, *parsed);
  Acknowledgement taken;
  const json::Value* events = reader.Require("events");
  if (events != nullptr && !events->is_array())
    issues.Add("object.type", "/events", "must be an array");
  if (auto named = reader.OptionalAs<protocol::RunId>("runId"); named && !(*named == run))
    issues.Add("claim.other_run", "/runId", "must be the run that was offered");
  CheckSecrets(reader);
  taken.terms = ReadTerms(reader);
  if (!issues.empty()) return Nonsense("POST", answer.response, issues.list().front().ToString());
  taken.events = *events;
  taken.secrets = TakeSecrets(parsed->object());
  return taken;
}

Status PlaneClient::Decline(const protocol::RunId& run, const Secret& claim_token,
                            std::string_view reason, const Deadline& deadline,
                            std::stop_token stop) {
  WipedText body{json::Write(json::Object{{"claimToken", std::string(claim_token.Reveal())},
                                          {"reason", std::string(reason)}})};
  HttpRequest request = Post(RunPath(run, "decline"), body.text);
  WRIT_ASSIGN(Answered answer, Call(request, Repeat::kAlways, deadline, stop));
  WRIT_ASSIGN(json::Value value, ReadJson("POST", answer.response));
  const json::Value* ok = value.Find("ok");
  if (ok == nullptr || *ok != json::Value(true))
    return Nonsense("POST", answer.response, "no member \"ok\"");
  return {};
}

Result<LeaseAnswer> PlaneClient::RenewLease(const protocol::RunId& run, const Secret& claim_token,
                                            const Secret* runner_token, milliseconds wait,
                                            const Deadline& deadline, std::stop_token stop) {
  json::Object members{{"claimToken", std::string(claim_token.Reveal())}};
  if (runner_token != nullptr) members.Set("runnerToken", std::string(runner_token->Reveal()));
  if (wait.count() > 0) members.Set("waitMs", wait.count());
  WipedText body{json::Write(std::move(members))};
  HttpRequest request = Post(RunPath(run, "lease"), body.text);
  WRIT_FAULT_TRY("call.renew.before");
  WRIT_ASSIGN(Answered answer, Call(request, Repeat::kNever, deadline, stop));
  WRIT_FAULT_TRY("call.renew.after");
  if (answer.response.status == 404) {
    Error error = Refused("POST", answer.response);
    error.code = "plane.forgotten";
    return error;
  }
  LeaseAnswer renewed;
  WRIT_ASSIGN(renewed.signals, ReadSignals("POST", answer.response));
  WRIT_ASSIGN(json::Value value, ReadJson("POST", answer.response));
  explicit_bzero(answer.response.body.data(), answer.response.body.size());
  TakeRotation(value);
  json::Issues issues;
  json::ObjectReader reader(issues, value);
  renewed.terms = ReadTerms(reader);
  (void)reader.OptionalBool("cancelRequested");
  renewed.closed = reader.OptionalBool("closed").value_or(false);
  if (!issues.empty()) return Nonsense("POST", answer.response, issues.list().front().ToString());
  return renewed;
}

Status PlaneClient::Late(const protocol::RunId& run, const Secret* claim_token,
                         const Secret& runner_token, const json::Value& events,
                         const json::Value& receipt, const Deadline& deadline,
                         std::stop_token stop) {
  json::Object members{{"runnerToken", std::string(runner_token.Reveal())},
                       {"events", events},
                       {"receipt", receipt}};
  if (claim_token != nullptr) members.Set("claimToken", std::string(claim_token->Reveal()));
  WipedText body{json::Write(std::move(members))};
  HttpRequest request = Post(RunPath(run, "late"), body.text);
  WRIT_FAULT_TRY("call.late.before");
  WRIT_ASSIGN(Answered answer, Call(request, Repeat::kAlways, deadline, stop));
  WRIT_FAULT_TRY("call.late.after");
  if (answer.response.status != 200) return Refused("POST", answer.response);
  return {};
}

Result<Secret> PlaneClient::Rotate(const Secret& runner_token, const std::string& public_key_pem,
                                   const std::string& proof, const Deadline& deadline,
                                   std::stop_token stop) {
  WipedText body{json::Write(json::Object{{"runnerToken", std::string(runner_token.Reveal())},
                                          {"publicKeyPem", public_key_pem},
                                          {"proof", proof}})};
  HttpRequest request = Post("/v1/runners/rotate", body.text);
  WRIT_FAULT_TRY("call.rotate.before");
  WRIT_ASSIGN(Answered answer, Call(request, Repeat::kAlways, deadline, stop));
  WRIT_FAULT_TRY("call.rotate.after");
  WRIT_ASSIGN(json::Value value, ReadJson("POST", answer.response));
  explicit_bzero(answer.response.body.data(), answer.response.body.size());
  json::Issues issues;
  json::ObjectReader reader(issues, value);
  reader.String("runnerToken", {.min_bytes = 8, .max_bytes = 4096});
  if (!issues.empty()) return Nonsense("POST", answer.response, issues.list().front().ToString());
  rotation_asked_ = false;
  return TakeSecret(value.object(), "runnerToken");
}

}  // namespace writ::runner
