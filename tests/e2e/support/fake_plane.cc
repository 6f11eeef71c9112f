#include "e2e/support/fake_plane.h"

#include <httplib.h>

#include <ctime>
#include <thread>

#include "e2e/support/fake_plane_state.h"
#include "support/shared_dir.h"
#include "writ/base/encoding.h"
#include "writ/base/file.h"
#include "writ/protocol/bundle.h"
#include "writ/protocol/events.h"
#include "writ/protocol/runner_capabilities.h"

namespace writ::test {
namespace {

std::string HttpDate(WallTime now) {
  std::time_t seconds = now.unix_ms / 1000;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[64];
  std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
  return text;
}

}  // namespace

struct FakePlane::Server {
  httplib::Server http;
  int port = 0;
  std::thread thread;
};

FakePlane::FakePlane(const Clock& clock, Dialect dialect)
    : clock_(clock),
      dialect_(dialect),
      key_(protocol::PrivateKey::Generate()),
      state_(std::make_unique<State>()),
      server_(std::make_unique<Server>()) {
  auto serve = [this](const httplib::Request& request, httplib::Response& response) {
    Answer answer = Handle({request.method, request.path, request.body,
                            request.get_header_value("Authorization"),
                            request.get_param_value("offset"), request.get_param_value("stream")});
    response.status = answer.status;
    response.set_header("Date", HttpDate(clock_.Now()));
    response.set_content(answer.body, answer.content_type.c_str());
  };
  server_->http.Get(".*", serve);
  server_->http.Post(".*", serve);
  server_->http.set_payload_max_length(256 << 20);
  // Each kept connection and each held call has a thread.
  server_->http.new_task_queue = [] { return new httplib::ThreadPool(48); };
  server_->http.set_tcp_nodelay(true);
  server_->port = server_->http.bind_to_any_port("127.0.0.1");
  server_->thread = std::thread([this] { server_->http.listen_after_bind(); });
  while (!server_->http.is_running()) std::this_thread::yield();
}

FakePlane::~FakePlane() {
  {
    std::lock_guard lock(state_->mutex);
    state_->stopping = true;
    state_->changed.notify_all();
  }
  server_->http.stop();
  server_->thread.join();
}

std::string FakePlane::url() const {
  return "http://127.0.0.1:" + std::to_string(server_->port);
}

protocol::PublicKey FakePlane::runner_key() const {
  std::lock_guard lock(state_->mutex);
  return protocol::PublicKey::FromPem(state_->runner_pem).value();
}

protocol::Contract FakePlane::Draft(const std::string& run_id) const {
  using namespace protocol;
  Contract draft;
  draft.run_id = RunId::Parse(run_id).value();
  draft.issued_at = clock_.Now();
  draft.requested_by = {ActorKind::kHuman, "demo@example.com"};
  draft.agent.kind = AgentKind::Parse("command").value();
  draft.prompt = "true";
  draft.pool = PoolName::Parse("default").value();
  draft.workspace.base_ref = CommitId::Parse("4d860767f99770656bf69a0bcfd96250ed47c328").value();
  draft.workspace.bundle_hash =
      Digest::Parse("aac1f1296533be71b2f13d8fbbcd30fe99631a5bf03537911924c21eca74e5f9").value();
  draft.policy_hash = Sha256("policy");
  draft.disclosure = Disclosure::kMinimalContext;
  draft.expires_at = clock_.Now() + std::chrono::hours(1);
  return draft;
}

protocol::Contract FakePlane::DraftOfTrue(const std::string& run_id) const {
  protocol::Contract draft = Draft(run_id);
  protocol::Execution execution;
  execution.kind = protocol::Execution::Kind::kShell;
  execution.script = "true";
  execution.env.egress_proxy = false;
  draft.execution = std::move(execution);
  return draft;
}

void FakePlane::Add(protocol::Contract draft,
                    std::vector<std::pair<std::string, std::string>> secrets) {
  AddSealed(std::move(draft), key_, std::move(secrets));
}

void FakePlane::AddSealed(protocol::Contract draft, const protocol::PrivateKey& key,
                          std::vector<std::pair<std::string, std::string>> secrets) {
  protocol::Contract contract = protocol::SealContract(std::move(draft), key).value();
  Run run;
  run.contract = contract.raw;
  run.secrets = std::move(secrets);
  std::lock_guard lock(state_->mutex);
  state_->queue.push_back(contract.run_id.text());
  state_->runs[contract.run_id.text()] = std::move(run);
}

void FakePlane::AddRaw(const std::string& run_id, std::string body,
                       std::vector<protocol::Event> events_of_plane) {
  Run run;
  run.events = std::move(events_of_plane);
  run.events_of_plane = run.events.size();
  if (auto parsed = json::Parse(body)) {
    if (const json::Value* contract = parsed->Find("contract")) run.contract = *contract;
    run.claim_token = std::string(parsed->FindString("claimToken").value_or(""));
  }
  std::lock_guard lock(state_->mutex);
  state_->queue.push_back(run_id);
  state_->raw[run_id] = std::move(body);
  state_->runs[run_id] = std::move(run);
}

void FakePlane::AddBlob(const std::string& bytes) {
  std::lock_guard lock(state_->mutex);
  state_->blobs[protocol::Sha256(bytes).ToHex()] = bytes;
}
bool FakePlane::HasBlob(const std::string& hex) const {
  std::lock_guard lock(state_->mutex);
  return state_->blobs.contains(hex);
}
std::string FakePlane::Blob(const std::string& hex) const {
  std::lock_guard lock(state_->mutex);
  auto at = state_->blobs.find(hex);
  return at == state_->blobs.end() ? std::string() : at->second;
}
FakePlane::Run FakePlane::Get(const std::string& run_id) const {
  std::lock_guard lock(state_->mutex);
  return state_->runs.at(run_id);
}
void FakePlane::RequestCancel(const std::string& run_id) {
  std::lock_guard lock(state_->mutex);
  state_->runs.at(run_id).cancel = true;
  state_->changed.notify_all();
}
json::Value FakePlane::capabilities() const {
  std::lock_guard lock(state_->mutex);
  return state_->capabilities;
}

std::vector<std::string> FakePlane::violations() const {
  std::lock_guard lock(state_->mutex);
  return state_->violations;
}
int FakePlane::Calls(const std::string& what) const {
  std::lock_guard lock(state_->mutex);
  auto at = state_->calls.find(what);
  return at == state_->calls.end() ? 0 : at->second;
}
void FakePlane::SetFault(
    std::function<std::optional<Answer>(const std::string&, const std::string&)> fault) {
  std::lock_guard lock(state_->mutex);
  state_->fault = std::move(fault);
}
void FakePlane::WithholdSecrets() {
  std::lock_guard lock(state_->mutex);
  state_->withholds_secrets = true;
}
void FakePlane::Violation(std::string what) {
  state_->violations.push_back(std::move(what));
}

json::Value FakePlane::Bundle(const std::string& run_id) const {
  Run run = Get(run_id);
  protocol::Contract contract = protocol::Contract::Parse(run.contract).value();
  protocol::Receipt receipt = protocol::Receipt::Parse(run.receipt).value();
  return protocol::BuildBundle(contract, receipt, run.events,
                               protocol::BundleKeys{key_.Public(), runner_key(), std::nullopt});
}

FakePlane::Answer FakePlane::Handle(const Call& call) {
  const auto& [method, path, body, authorization, offset, stream] = call;
  std::function<std::optional<Answer>(const std::string&, const std::string&)> fault;
  {
    std::lock_guard lock(state_->mutex);
    ++state_->calls[method + " " + path];
    fault = state_->fault;
  }
  if (fault) {
    if (auto answer = fault(method, path)) return *answer;
  }
  std::unique_lock lock(state_->mutex);
  if (path == "/v1/health") {
    json::Object health{{"ok", true}, {"service", "warrant-plane"}};
    if (dialect_ != Dialect::kBase) health.Set("extensions", json::Value::Texts({"writ.1"}));
    return Json(std::move(health));
  }
  if (path == "/v1/blobs" && method == "POST") {
    if (!BearsOneInForce(call)) return RefuseToken();
    std::string hex = protocol::Sha256(body).ToHex();
    state_->blobs[hex] = body;
    return Json(json::Object{{"hash", hex}});
  }
  if (path.starts_with("/v1/blobs/")) {
    if (!authorization.starts_with("Bearer claim-"))
      Violation("a blob was read without the claim token");
    if (!BearsOneInForce(call)) return RefuseToken();
    auto at = state_->blobs.find(path.substr(10));
    if (at == state_->blobs.end()) return Refuse(404, "blob not found");
    return {200, at->second, "application/octet-stream"};
  }
  if (dialect_ == Dialect::kLeased) {
    if (auto answer = HandleLease(call, lock)) return *answer;
  }
  Result<json::Value> value = json::Parse(body);
  if (!value) return Refuse(400, "request body is not valid JSON");
  if (path == "/v1/runners/enroll") {
    if (value->FindString("enrollToken") != "testkit-enroll-token")
      return Refuse(400, "invalid enroll token");
    state_->runner_pem = std::string(value->FindString("publicKeyPem").value_or(""));
    return Json(json::Object{{"runnerId", "rnr_test"}, {"runnerToken", state_->runner_token}});
  }
  if (path == "/v1/claims") return Claim(*value);
  if (path.starts_with("/v1/runs/") && path.ends_with("/events"))
    return Append(path.substr(9, path.size() - 16), *value);
  if (path.starts_with("/v1/runs/") && path.ends_with("/complete"))
    return Complete(path.substr(9, path.size() - 18), *value);
  return Refuse(404, "no route");
}

// What a plane writes before it hands a run out, or offers it; the key is that of the runner that
// asks.
void FakePlane::WriteChain(Run& run, Chain part) {
  protocol::Contract contract = protocol::Contract::Parse(run.contract).value();
  protocol::EventChain chain =
      protocol::EventChain::FromEvents(contract.Hash(), run.events).value();
  auto add = [&](json::Value event) {
    run.events.push_back(chain.Append(clock_.Now(), std::move(event)));
  };
  if (part != Chain::kRest) {
    add(protocol::events::RunCreated());
    add(protocol::events::PolicyEvaluated("allow", "policy allows this run"));
    run.events_of_plane = run.events.size();
    if (part == Chain::kToOffer) return;
  }
  add(protocol::events::RunClaimed(protocol::RunnerId::Parse("rnr_test").value(),
                                   protocol::PublicKey::FromPem(state_->runner_pem).value().Id()));
  for (const protocol::SecretGrant& grant : contract.secrets)
    for (const auto& [name, value] : run.secrets)
      if (name == grant.name.text()) add(protocol::events::SecretReleased(grant));
  run.events_of_plane = run.events.size();
}

FakePlane::Answer FakePlane::Claim(const json::Value& body) {
  if (state_->revoked) return Refuse(403, "revoked", "runner.revoked");
  const bool rotating = !state_->rotated_to.empty() && state_->runner_pem != state_->rotated_to;
  if (body.FindString("runnerToken") == state_->runner_token) {
    // The first use of the new token ends the old key.
    if (rotating) {
      state_->runner_pem = state_->rotated_to;
      state_->rules.ask_rotation = false;
    }
  } else if (!rotating || body.FindString("runnerToken") != "runner-token-of-the-test") {
    return Refuse(401, "invalid runner token");
  }
  if (const json::Value* wait = body.Find("waitMs")) {
    if (dialect_ == Dialect::kBase) Violation("waitMs was sent to a plane without the extension");
    state_->waits.push_back(wait->AsInteger().value_or(-1));
  }
  if (dialect_ == Dialect::kBase && body.Find("acknowledge") != nullptr)
    Violation("an offer was asked of a plane without the extension");
  const json::Value* can = body.Find("capabilities");
  if (dialect_ == Dialect::kBase && can != nullptr)
    Violation("capabilities were sent to a plane without the extension");
  if (can != nullptr) {
    if (auto read = protocol::RunnerCapabilities::Parse(*can); !read)
      Violation(read.error().ToString());
    state_->capabilities = *can;
  }
  if (state_->queue.empty())
    return Json(json::Object{{"empty", true}, {"rotate", state_->rules.ask_rotation}});
  std::string run_id = state_->queue.front();
  state_->queue.pop_front();
  if (auto raw = state_->raw.find(run_id); raw != state_->raw.end())
    return {200, raw->second, "application/json"};
  Run& run = state_->runs.at(run_id);
  const json::Value* acknowledge = body.Find("acknowledge");
  if (dialect_ == Dialect::kLeased && acknowledge != nullptr) return Offer(run_id, run);
  WriteChain(run, Chain::kToClaim);
  run.claim_token = "claim-" + run_id;
  json::Array events, secrets;
  for (const protocol::Event& event : run.events) events.push_back(event.ToJson());
  if (!state_->withholds_secrets)
    for (const auto& [name, value] : run.secrets)
      secrets.push_back(json::Object{{"name", name}, {"value", value}});
  return Json(json::Object{{"runId", run_id},
                           {"contract", run.contract},
                           {"claimToken", run.claim_token},
                           {"events", std::move(events)},
                           {"secrets", std::move(secrets)}});
}

FakePlane::Answer FakePlane::Append(const std::string& run_id, const json::Value& body) {
  auto at = state_->runs.find(run_id);
  if (at == state_->runs.end()) return Refuse(404, "no such run");
  Run& run = at->second;
  if (!InForce(run, body.FindString("claimToken"))) return RefuseToken();
  if (auto no = Gate(*state_, run)) return *no;
  Result<std::vector<protocol::Event>> events =
      body.Find("events") != nullptr ? protocol::Event::ParseAll(*body.Find("events")) : Error{};
  if (!events) {
    Violation("events that do not parse");
    return Refuse(400, "bad events");
  }
  // A repetition of what is stored, whose answer was lost or not noted: how far the chain is.
  if (dialect_ != Dialect::kBase && !events->empty() && !run.events.empty() &&
      events->back().hash == run.events.back().hash)
    return Json(json::Object{{"error", "these are stored"},
                             {"code", "bad_request"},
                             {"nextSeq", static_cast<std::int64_t>(run.events.size())},
                             {"head", run.events.back().hash.ToHex()}},
                400);
  for (const protocol::Event& event : *events) {
    const protocol::Digest& prev = run.events.empty()
                                       ? protocol::HashWithout(run.contract, "signatures")
                                       : run.events.back().hash;
    if (event.seq != run.events.size() || event.prev != prev || event.ComputeHash() != event.hash) {
      Violation("the chain does not extend what is stored");
      return Refuse(409, "chain");
    }
    if (dialect_ == Dialect::kBase) {
      if (auto wrong = StrictEventProblem(event.event)) {
        Violation(*wrong);
        return Refuse(400, *wrong);
      }
    }
    run.events.push_back(event);
  }
  json::Object answer{{"ok", true}};
  if (dialect_ != Dialect::kBase) answer.Set("cancelRequested", run.cancel);
  return Json(std::move(answer));
}

FakePlane::Answer FakePlane::Complete(const std::string& run_id, const json::Value& body) {
  Run& run = state_->runs.at(run_id);
  // After the token's end the runner's own one is enough, at a plane with the extension.
  const bool proven =
      dialect_ != Dialect::kBase && body.FindString("runnerToken") == state_->runner_token;
  if (!InForce(run, body.FindString("claimToken")) &&
      !(proven && run.token_ended && body.FindString("claimToken") == run.claim_token))
    return RefuseToken();
  if (auto no = Gate(*state_, run)) return *no;
  const json::Value* value = body.Find("receipt");
  if (value == nullptr) return Refuse(400, "no receipt");
  if (run.completions > 0) return Refuse(409, "already completed");
  if (dialect_ == Dialect::kBase) {
    if (auto wrong = StrictReceiptProblem(*value)) {
      Violation(*wrong);
      return Refuse(400, *wrong);
    }
  }
  ++run.completions;
  run.receipt = *value;
  if (Result<protocol::Receipt> receipt = protocol::Receipt::Parse(*value)) {
    auto runner = protocol::PublicKey::FromPem(state_->runner_pem);
    if (runner && protocol::CountersignAsPlane(*receipt, *runner, key_)) run.receipt = receipt->raw;
  }
  return Json(json::Object{{"receipt", run.receipt}});
}

void FakePlane::LoadRecordedBlobs(FakePlane& plane) {
  json::Value recording =
      json::Parse(ReadFile(PeerVectors() + "/http.json", 64 << 20).value()).value();
  for (const json::Value& entry : recording.array()) {
    const json::Value* request = entry.Find("request");
    if (request == nullptr || request->FindString("method") != "POST" ||
        request->FindString("path") != "/v1/blobs")
      continue;
    std::string authorization(request->FindString("authorization").value_or(""));
    if (authorization.starts_with("Bearer testkit"))
      plane.AddBlob(*Base64Decode(*request->Find("body")->FindString("base64")));
  }
}

}  // namespace writ::test
