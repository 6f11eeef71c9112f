#include "writ/protocol/events.h"

#include <algorithm>
#include <array>

#include "writ/base/encoding.h"

namespace writ::protocol::events {
namespace {

constexpr std::array kBaseTypes = {kRunCreated,       kRunClaimed,        kWorkspaceMaterialized,
                                   kPolicyEvaluated,  kConsentRequested,  kConsentGranted,
                                   kSecretReleased,   kCommandExecuted,   kFileChanged,
                                   kNetworkConnected, kModelCalled,       kBoundaryCrossed,
                                   kArtifactCreated,  kCheckpointCreated, kRunCompleted,
                                   kRunFailed,        kRunCancelled};

json::Value Counter(const std::optional<std::uint64_t>& count) {
  return count ? json::Value(*count) : json::Value("unavailable");
}

}  // namespace

bool IsBaseType(std::string_view type) {
  return std::find(kBaseTypes.begin(), kBaseTypes.end(), type) != kBaseTypes.end();
}
bool IsTerminalType(std::string_view type) {
  return type == kRunCompleted || type == kRunFailed || type == kRunCancelled;
}

json::Value RunCreated() {
  return json::Object{{"type", kRunCreated}};
}
json::Value RunClaimed(const RunnerId& runner, const KeyId& runner_key) {
  return json::Object{{"type", kRunClaimed}, {"runnerId", runner}, {"runnerKeyId", runner_key}};
}
json::Value WorkspaceMaterialized(const Digest& manifest_hash) {
  return json::Object{{"type", kWorkspaceMaterialized}, {"manifestHash", manifest_hash}};
}
json::Value PolicyEvaluated(std::string_view decision, std::string_view reason) {
  return json::Object{{"type", kPolicyEvaluated}, {"decision", decision}, {"reason", reason}};
}
json::Value ConsentRequested(std::string_view requirement) {
  return json::Object{{"type", kConsentRequested}, {"requirement", requirement}};
}
json::Value ConsentGranted(const Actor& actor) {
  return json::Object{{"type", kConsentGranted}, {"actor", actor.ToJson()}};
}
json::Value SecretReleased(const SecretGrant& grant) {
  return json::Object{{"type", kSecretReleased}, {"name", grant.name}, {"scope", grant.scope}};
}
json::Value CommandExecuted(const Digest& argv_hash, int exit_code, std::optional<int> signal) {
  json::Object out{{"type", kCommandExecuted}, {"argvHash", argv_hash}, {"exitCode", exit_code}};
  out.SetOptional("signal", signal);
  return out;
}
json::Value FileChanged(std::string_view path, const Digest& content_hash,
                        std::optional<std::string_view> path_bytes) {
  json::Object out{{"type", kFileChanged}, {"path", path}, {"contentHash", content_hash}};
  if (path_bytes) out.Set("pathB64", Base64Encode(*path_bytes));
  return out;
}
json::Value NetworkConnected(std::string_view host, NetworkDecision decision) {
  return json::Object{{"type", kNetworkConnected}, {"host", host}, {"decision", Word(decision)}};
}
json::Value ModelCalled(std::string_view provider, std::string_view model) {
  return json::Object{{"type", kModelCalled}, {"provider", provider}, {"model", model}};
}
json::Value BoundaryCrossed(Direction direction, const Digest& content_hash,
                            std::string_view data_class) {
  return json::Object{{"type", kBoundaryCrossed},
                      {"direction", Word(direction)},
                      {"contentHash", content_hash},
                      {"dataClass", data_class}};
}
json::Value ArtifactCreated(ArtifactKind kind, const Digest& hash) {
  return json::Object{{"type", kArtifactCreated}, {"kind", Word(kind)}, {"hash", hash}};
}
json::Value FileArtifactCreated(const Digest& hash, std::string_view path, std::uint64_t bytes) {
  json::Value out = ArtifactCreated(ArtifactKind::kFile, hash);
  out.object().Set("path", path).Set("bytes", bytes);
  return out;
}
json::Value CheckpointCreated(std::string_view checkpoint_id, std::string_view tier) {
  return json::Object{
      {"type", kCheckpointCreated}, {"checkpointId", checkpoint_id}, {"tier", tier}};
}
json::Value RunCompleted() {
  return json::Object{{"type", kRunCompleted}};
}
json::Value RunFailed(FailureClass failure, std::string_view message) {
  return json::Object{{"type", kRunFailed}, {"failure", Word(failure)}, {"message", message}};
}
json::Value RunCancelled(const Actor& actor) {
  return json::Object{{"type", kRunCancelled}, {"actor", actor.ToJson()}};
}

json::Value RunRequeued(const RunId& as) {
  return json::Object{{"type", kRunRequeued}, {"runId", as}};
}

json::Value SecretDelivered(const SecretName& name, std::string_view to) {
  return json::Object{{"type", kSecretDelivered}, {"name", name}, {"to", to}};
}
json::Value SecretWithheld(const SecretName& name, std::string_view reason) {
  return json::Object{{"type", kSecretWithheld}, {"name", name}, {"reason", reason}};
}
json::Value NetworkFlow(const FlowSummary& flow) {
  return json::Object{{"type", kNetworkFlow},
                      {"host", flow.host},
                      {"port", flow.port},
                      {"rule", flow.rule},
                      {"decision", Word(flow.decision)},
                      {"flows", flow.flows},
                      {"bytesOut", flow.bytes_out},
                      {"bytesIn", flow.bytes_in},
                      {"closeReason", flow.close_reason}};
}
json::Value NetworkClosed(const NetworkCounters& counters) {
  return json::Object{{"type", kNetworkClosed},
                      {"flows", counters.flows},
                      {"bytesOut", counters.bytes_out},
                      {"bytesIn", counters.bytes_in},
                      {"blocked", counters.blocked},
                      {"kernelConnections", Counter(counters.kernel_connections)},
                      {"kernelBytesOut", Counter(counters.kernel_bytes_out)},
                      {"kernelBytesIn", Counter(counters.kernel_bytes_in)}};
}
json::Value SessionPlanned(const Digest& plan_hash) {
  return json::Object{{"type", kSessionPlanned}, {"planHash", plan_hash}};
}
json::Value SessionStarted(std::string_view backend, Tier tier) {
  return json::Object{{"type", kSessionStarted}, {"backend", backend}, {"isolation", Word(tier)}};
}
json::Value SessionClosed(const std::vector<std::string>& leaks,
                          std::optional<std::uint64_t> duration_ms) {
  json::Object out{{"type", kSessionClosed}, {"leaks", json::Value::Texts(leaks)}};
  out.SetOptional("durationMs", duration_ms);
  return out;
}
json::Value SessionEntered(const SessionEntry& entry) {
  json::Object out{{"type", kSessionEntered},
                   {"use", entry.use},
                   {"mode", entry.mode},
                   {"actor", entry.actor.ToJson()}};
  out.SetOptional("argvHash", entry.argv_hash);
  if (entry.terminal) out.Set("terminal", true);
  if (entry.input) out.Set("input", true);
  return out;
}
json::Value SessionLeft(const SessionLeaving& leaving) {
  json::Object out{{"type", kSessionLeft}, {"use", leaving.use}, {"mode", leaving.mode}};
  out.SetOptional("exitCode", leaving.exit_code);
  out.SetOptional("signal", leaving.signal);
  if (!leaving.reason.empty()) out.Set("reason", leaving.reason);
  out.Set("durationMs", leaving.duration_ms)
      .Set("bytesIn", leaving.bytes_in)
      .Set("bytesOut", leaving.bytes_out);
  return out;
}
json::Value SessionPaused(const Actor& actor) {
  return json::Object{{"type", kSessionPaused}, {"actor", actor.ToJson()}};
}
json::Value SessionResumed(const Actor& actor, std::uint64_t paused_ms) {
  return json::Object{
      {"type", kSessionResumed}, {"actor", actor.ToJson()}, {"pausedMs", paused_ms}};
}
json::Value FileCopied(const FileCopy& copy) {
  json::Object out{{"type", kFileCopied}, {"use", copy.use}, {"direction", Word(copy.direction)}};
  out.SetOptional("path", copy.path);
  out.Set("contentHash", copy.content_hash)
      .Set("files", copy.files)
      .Set("bytes", copy.bytes)
      .Set("leftOut", copy.left_out);
  return out;
}
json::Value HookResult(const HookOutcome& outcome) {
  json::Object out{{"type", kHookResult}, {"hook", outcome.hook}};
  out.SetOptional("exitCode", outcome.exit_code);
  out.Set("durationMs", outcome.duration_ms).Set("veto", outcome.veto);
  return out;
}

json::Value Finding(std::string_view code, std::string_view message,
                    std::optional<std::string_view> path) {
  json::Object out{{"type", kFinding}, {"code", code}, {"message", message}};
  out.SetOptional("path", path);
  return out;
}

}  // namespace writ::protocol::events
