// The part of FakePlane that offers runs and keeps leases.
#include <algorithm>

#include "e2e/support/fake_plane_state.h"
#include "writ/base/encoding.h"

namespace writ::test {

void FakePlane::SetLease(LeaseRules rules) {
  std::lock_guard lock(state_->mutex);
  state_->rules = rules;
}
void FakePlane::Revoke() {
  std::lock_guard lock(state_->mutex);
  state_->revoked = true;
  state_->changed.notify_all();
}
void FakePlane::EndToken(const std::string& run_id) {
  std::lock_guard lock(state_->mutex);
  state_->runs.at(run_id).token_ended = true;
  state_->changed.notify_all();
}
int FakePlane::refused_tokens() const {
  std::lock_guard lock(state_->mutex);
  return state_->refused_tokens;
}
std::vector<std::int64_t> FakePlane::waits() const {
  std::lock_guard lock(state_->mutex);
  return state_->waits;
}

bool FakePlane::InForce(const Run& run, std::optional<std::string_view> claim_token) const {
  return !run.token_ended && !run.claim_token.empty() && claim_token == run.claim_token;
}

bool FakePlane::BearsOneInForce(const Call& call) const {
  constexpr std::string_view kBearer = "Bearer ";
  if (!call.authorization.starts_with(kBearer)) return false;
  const std::string_view token = std::string_view(call.authorization).substr(kBearer.size());
  return std::any_of(state_->runs.begin(), state_->runs.end(),
                     [&](const auto& run) { return InForce(run.second, token); });
}

FakePlane::Answer FakePlane::RefuseToken() {
  ++state_->refused_tokens;
  return Refuse(401, "this claim token does not count", "unauthorized");
}

void FakePlane::CloseRun(const std::string& run_id) {
  std::lock_guard lock(state_->mutex);
  state_->runs.at(run_id).ended = true;
  state_->changed.notify_all();
}
void FakePlane::ForgetRun(const std::string& run_id) {
  std::lock_guard lock(state_->mutex);
  state_->runs.at(run_id).forgotten = true;
  state_->changed.notify_all();
}
std::string FakePlane::runner_token() const {
  std::lock_guard lock(state_->mutex);
  return state_->runner_token;
}
void FakePlane::CutLog(const std::string& run_id, std::size_t bytes) {
  std::lock_guard lock(state_->mutex);
  state_->runs.at(run_id).log.resize(bytes);
}

FakePlane::Answer FakePlane::Offer(const std::string& run_id, Run& run) {
  if (run.events.empty()) WriteChain(run, Chain::kToOffer);
  run.offered = true;
  ++run.offers;
  run.claim_token = "claim-" + run_id;
  run.token_ended = false;
  json::Array events;
  for (const protocol::Event& event : run.events) events.push_back(event.ToJson());
  return Json(json::Object{{"offer", true},
                           {"runId", run_id},
                           {"contract", run.contract},
                           {"claimToken", run.claim_token},
                           {"offerMs", state_->rules.offer_ms},
                           {"events", std::move(events)}});
}

FakePlane::Answer FakePlane::Acknowledge(Run& run) {
  ++run.acknowledgements;
  if (!run.offered) return Refuse(409, "the offer has run out", "offer.expired");
  if (!run.acknowledged) WriteChain(run, Chain::kRest);
  run.acknowledged = true;
  json::Array events, secrets;
  for (const protocol::Event& event : run.events) events.push_back(event.ToJson());
  for (const auto& [name, value] : run.secrets)
    secrets.push_back(json::Object{{"name", name}, {"value", value}});
  return Json(json::Object{{"events", std::move(events)},
                           {"secrets", std::move(secrets)},
                           {"leaseMs", state_->rules.lease_ms},
                           {"renewAfterMs", state_->rules.renew_after_ms}});
}

FakePlane::Answer FakePlane::Lease(const std::string& run_id, const json::Value& body,
                                   std::unique_lock<std::mutex>& lock) {
  Run& run = state_->runs.at(run_id);
  ++run.renewals;
  state_->changed.notify_all();
  const json::Value* wait = body.Find("waitMs");
  const bool told_before = run.cancel;
  if (wait != nullptr && !state_->rules.fresh_tokens)
    state_->changed.wait_for(lock, std::chrono::milliseconds(wait->AsInteger().value_or(0)), [&] {
      return state_->stopping || state_->revoked || run.ended || run.forgotten || run.token_ended ||
             (run.cancel && !told_before);
    });
  // While the call was held, too.
  if (run.token_ended && body.FindString("runnerToken") != state_->runner_token)
    return RefuseToken();
  const bool proven = body.FindString("runnerToken") == state_->runner_token;
  const std::string late = "claim-" + run_id + "-late";
  // However often: the run's lease and its upload may both ask.
  if (run.ended && proven && (std::exchange(run.token_ended, false) || run.claim_token == late)) {
    run.claim_token = late;
    return Json(json::Object{{"claimToken", run.claim_token}, {"closed", true}});
  }
  if (auto no = Gate(*state_, run)) return *no;
  json::Object answer{{"leaseMs", state_->rules.lease_ms},
                      {"renewAfterMs", state_->rules.renew_after_ms},
                      {"cancelRequested", run.cancel},
                      {"rotate", state_->rules.ask_rotation}};
  if (run.cancel)
    answer.Set("cancelledBy", json::Object{{"kind", "human"}, {"id", "who@example.com"}});
  if (state_->rules.fresh_tokens || std::exchange(run.token_ended, false))
    run.claim_token = "claim-" + run_id + "-" + std::to_string(run.renewals);
  if (body.FindString("claimToken") != run.claim_token) answer.Set("claimToken", run.claim_token);
  return Json(std::move(answer));
}

FakePlane::Answer FakePlane::AppendLog(Run& run, const Call& call) {
  if (!BearsOneInForce(call)) return RefuseToken();
  if (auto no = Gate(*state_, run)) return *no;
  std::string& log = call.stream == "stderr"     ? run.stderr_log
                     : call.stream == "progress" ? run.progress
                                                 : run.log;
  const std::size_t offset = std::stoul(call.offset);
  if (offset > log.size())
    return Json(json::Object{{"error", "a gap"},
                             {"code", "log.gap"},
                             {"nextOffset", static_cast<std::int64_t>(log.size())}},
                409);
  if (offset + call.body.size() > log.size()) log += call.body.substr(log.size() - offset);
  return Json(json::Object{{"nextOffset", static_cast<std::int64_t>(log.size())}});
}

FakePlane::Answer FakePlane::Rotate(const json::Value& body) {
  const std::string pem(body.FindString("publicKeyPem").value_or(""));
  auto next = protocol::PublicKey::FromPem(pem);
  auto proof = Base64Decode(std::string(body.FindString("proof").value_or("")));
  // The key that signed the proof: before the rotation, and when its answer was lost.
  auto old = protocol::PublicKey::FromPem(state_->runner_pem);
  if (!next || !proof || !old) return Refuse(400, "bad rotation");
  const std::string first = "runner-token-of-the-test";
  if (body.FindString("runnerToken") != first) return Refuse(401, "invalid runner token");
  if (!protocol::Verify(*old, "writ-rotate:" + next->Id().text(), *proof))
    return Refuse(403, "the proof is not by the key in force", "forbidden");
  if (!state_->rotated_to.empty() && state_->rotated_to != pem) {
    Violation("a rotation was repeated with another key");
    return Refuse(409, "another key", "conflict");
  }
  state_->rotated_to = pem;
  state_->runner_token = "runner-token-after-rotation";
  if (state_->rules.lose_rotations-- > 0) return {500, "oops", "text/plain"};
  return Json(json::Object{{"runnerToken", state_->runner_token}});
}

std::optional<FakePlane::Answer> FakePlane::HandleLease(const Call& call,
                                                        std::unique_lock<std::mutex>& lock) {
  if (call.path == "/v1/runners/rotate") {
    Result<json::Value> body = json::Parse(call.body);
    return body ? Rotate(*body) : Refuse(400, "bad body");
  }
  constexpr std::string_view kRuns = "/v1/runs/";
  if (!call.path.starts_with(kRuns)) return std::nullopt;
  const std::size_t slash = call.path.rfind('/');
  if (slash < kRuns.size()) return std::nullopt;
  const std::string run_id = call.path.substr(kRuns.size(), slash - kRuns.size());
  const std::string what = call.path.substr(slash + 1);
  auto at = state_->runs.find(run_id);
  if (at == state_->runs.end()) return std::nullopt;
  Run& run = at->second;
  if (what == "log") return AppendLog(run, call);
  if (what != "acknowledge" && what != "decline" && what != "lease" && what != "late")
    return std::nullopt;
  Result<json::Value> body = json::Parse(call.body);
  if (!body) return Refuse(400, "bad body");
  if (what == "late") {  // where the claim token has ended the runner's is enough
    if (body->FindString("runnerToken") != state_->runner_token)
      return Refuse(401, "invalid runner token");
    run.late = *body;
    return Json(json::Object{{"ok", true}});
  }
  const auto token = body->FindString("claimToken");
  const bool proven = what == "lease" && token && token->starts_with("claim-" + run_id) &&
                      body->FindString("runnerToken") == state_->runner_token;
  if (!InForce(run, token) && !proven) return RefuseToken();
  if (what == "lease") return Lease(run_id, *body, lock);
  if (what == "acknowledge") return Acknowledge(run);
  if (!run.offered || run.acknowledged) return Refuse(409, "no offer", "conflict");
  run.offered = false;
  run.declined.emplace_back(body->FindString("reason").value_or(""));
  state_->queue.push_back(run_id);
  return Json(json::Object{{"ok", true}});
}

}  // namespace writ::test
