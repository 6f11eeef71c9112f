#include "run_request.h"

#include <algorithm>

namespace writ::plane {
namespace {

using json::ObjectReader;
using json::TextRule;

constexpr std::size_t kMaxPrompt = 1u << 20;

// Words of ours and of the other planes; which of them a runner can serve is the runner's word.
constexpr std::string_view kIsolationWords[] = {"process", "sandbox",  "container",
                                                "microvm", "hermetic", "vercel-sandbox"};
bool IsIsolationWord(std::string_view text) {
  return std::find(std::begin(kIsolationWords), std::end(kIsolationWords), text) !=
         std::end(kIsolationWords);
}

// "/request/secretNames/0" as the recorded peer writes places: "request.secretNames.0".
std::string DottedPlace(std::string_view pointer) {
  std::string out;
  for (std::size_t i = 1; i < pointer.size(); ++i) {
    if (pointer[i] == '/') {
      out += '.';
    } else if (pointer[i] == '~' && i + 1 < pointer.size()) {
      out += pointer[++i] == '1' ? '/' : '~';
    } else {
      out += pointer[i];
    }
  }
  return out.empty() ? "body" : out;
}

// Not empty, in the recorded peer's words where it is.
std::string FilledText(ObjectReader& reader, std::string_view name, std::size_t max_bytes) {
  std::string text = reader.String(name, {.max_bytes = max_bytes});
  const json::Value* value = reader.Find(name);
  if (value != nullptr && value->is_string() && text.empty() && value->string().empty()) {
    reader.issues().Add("object.range", reader.PointerOf(name),
                        "Too small: expected string to have >=1 characters");
  }
  return text;
}

RunRequest ReadRequest(ObjectReader& reader) {
  RunRequest request;
  if (auto actor = reader.OptionalChild("requestedBy")) {
    request.requested_by.emplace();
    request.requested_by->kind = actor->Enum("kind", protocol::kActorKindTable);
    request.requested_by->id = FilledText(*actor, "id", 256);
    actor->RefuseUnknown();
  }
  request.agent.kind = reader.As<protocol::AgentKind>("agentKind");
  request.agent.version = reader.OptionalString("agentVersion", {.min_bytes = 1, .max_bytes = 128});
  request.secrets = reader.AllAs<protocol::SecretName>("secretNames");
  for (std::size_t i = 0; i < request.secrets.size(); ++i) {
    if (std::find(request.secrets.begin(), request.secrets.begin() + static_cast<std::ptrdiff_t>(i),
                  request.secrets[i]) != request.secrets.begin() + static_cast<std::ptrdiff_t>(i)) {
      reader.issues().Add("object.duplicate", json::PointerTo(reader.PointerOf("secretNames"), i),
                          "is named twice");
    }
  }
  auto network = reader.Child("network");
  network.Bool("defaultDeny");
  network.AllAs<protocol::AllowedHost>("allowHosts");
  network.RefuseUnknown();
  if (reader.Has("network") && reader.Find("network")->is_object()) {
    json::Issues again;  // reported above already
    request.network = protocol::NetworkSpec::Read(ObjectReader(again, *reader.Find("network")));
  }
  auto budget = reader.Child("budget");
  request.budget.max_spend_usd = budget.OptionalNumber("maxSpendUsd", 0, 1e9);
  // Under a tenth of a second nothing can run; over a year nothing should.
  request.budget.max_duration_min = budget.OptionalNumber("maxDurationMin", 0.001, 525600);
  budget.RefuseUnknown();
  request.disclosure = reader.Enum("disclosure", protocol::kDisclosureTable);
  if (const json::Value* workspace = reader.Require("workspace")) {
    request.workspace = protocol::Manifest::Read(
        ObjectReader(reader.issues(), *workspace, reader.PointerOf("workspace")), *workspace);
  }
  request.pool = reader.As<protocol::PoolName>("pool");
  request.prompt = FilledText(reader, "prompt", kMaxPrompt);
  if (const json::Value* execution = reader.Find("execution")) {
    request.execution = protocol::Execution::Read(
        ObjectReader(reader.issues(), *execution, reader.PointerOf("execution")), *execution);
    if (request.execution->kind == protocol::Execution::Kind::kAgent &&
        request.execution->agent.kind != request.agent.kind) {
      reader.issues().Add("object.mismatch", reader.PointerOf("execution") + "/agent/kind",
                          "must be the request's agentKind");
    }
  }
  request.isolation = reader.OptionalString(
      "isolation", {.min_bytes = 1,
                    .max_bytes = 32,
                    .pattern = IsIsolationWord,
                    .pattern_words = "one of process, sandbox, container, microvm, hermetic, "
                                     "vercel-sandbox"});
  if (auto trace = reader.OptionalString("traceparent", {.pattern = protocol::IsTraceparent,
                                                         .pattern_words = "a W3C traceparent"}))
    request.trace = protocol::TraceContext{*trace};
  if (auto from = reader.OptionalChild("continuation")) {
    request.continuation.emplace();
    request.continuation->envelope_hash = from->As<protocol::Digest>("envelopeHash");
    request.continuation->checkpoint_id = from->As<protocol::Digest>("checkpointId").ToHex();
    request.continuation->tier = from->String("tier", {.max_bytes = 256});
    if (request.continuation->tier != protocol::kCheckpointTier)
      from->issues().Add("request.continuation", from->PointerOf("tier"),
                         "this plane knows no checkpoints but those of tier " +
                             std::string(protocol::kCheckpointTier));
    from->RefuseUnknown();
  }
  reader.RefuseUnknown();
  return request;
}

}  // namespace

Error NotJson(const Error& cause) {
  return Error{.kind = ErrorKind::kInvalid,
               .code = "request.not_json",
               .message = "request body is not valid JSON",
               .hint = cause.message};
}

std::chrono::milliseconds RunRequest::Timeout() const {
  auto prepared_ms = std::chrono::milliseconds(600'000);
  bool said = false;
  if (execution && execution->timeout_ms) {
    prepared_ms = std::chrono::milliseconds(*execution->timeout_ms);
    said = true;
  }
  if (budget.max_duration_min) {
    auto budget_ms =
        std::chrono::milliseconds(static_cast<std::int64_t>(*budget.max_duration_min * 60'000));
    prepared_ms = said ? std::min(prepared_ms, budget_ms) : budget_ms;
  }
  return prepared_ms;
}

std::vector<std::string> RunRequest::AgentKinds() const {
  std::vector<std::string> kinds{agent.kind.text()};
  if (execution && execution->kind != protocol::Execution::Kind::kAgent && kinds[0] != "command") {
    kinds.emplace_back("command");
  }
  return kinds;
}

Result<ParsedRunRequest> ParseRunRequest(std::string_view body, std::size_t max_bytes) {
  auto parsed = json::Parse(body, {.max_depth = 32, .max_bytes = max_bytes});
  if (!parsed) return NotJson(parsed.error());
  ParsedRunRequest out;
  json::Issues issues;
  ObjectReader root(issues, *parsed);
  if (root.OptionalBool("dryRun").value_or(false)) out.mode = RunMode::kDryRun;
  if (const json::Value* request = root.Require("request")) {
    out.raw = *request;
    ObjectReader reader(issues, *request, "/request");
    out.request = ReadRequest(reader);
  }
  root.RefuseUnknown();
  for (const auto& issue : issues.list()) {
    out.issues.push_back({issue.pointer, DottedPlace(issue.pointer) + ": " + issue.message});
  }
  return out;
}

}  // namespace writ::plane
