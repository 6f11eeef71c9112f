// Builders for the event objects: one function per event type, and the names of the types.
//
// The base vocabulary is the protocol's; the further types are ours (design.md sections 2 and 5)
// and go into a chain only towards a plane that lists the extension "writ.1" (protocol.md section
// 5).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "writ/protocol/contract.h"
#include "writ/protocol/digest.h"
#include "writ/protocol/json.h"
#include "writ/protocol/words.h"

namespace writ::protocol::events {

inline constexpr std::string_view kRunCreated = "run.created", kRunClaimed = "run.claimed",
                                  kWorkspaceMaterialized = "workspace.materialized",
                                  kPolicyEvaluated = "policy.evaluated",
                                  kConsentRequested = "consent.requested",
                                  kConsentGranted = "consent.granted",
                                  kSecretReleased = "secret.released",
                                  kCommandExecuted = "command.executed",
                                  kFileChanged = "file.changed",
                                  kNetworkConnected = "network.connected",
                                  kModelCalled = "model.called",
                                  kBoundaryCrossed = "boundary.crossed",
                                  kArtifactCreated = "artifact.created",
                                  kCheckpointCreated = "checkpoint.created",
                                  kRunCompleted = "run.completed", kRunFailed = "run.failed",
                                  kRunCancelled = "run.cancelled";
// Ours.
inline constexpr std::string_view kSecretDelivered = "secret.delivered",
                                  kSecretWithheld = "secret.withheld",
                                  kNetworkFlow = "network.flow", kNetworkClosed = "network.closed",
                                  kSessionPlanned = "session.planned",
                                  kSessionStarted = "session.started",
                                  kSessionClosed = "session.closed",
                                  kSessionEntered = "session.entered",
                                  kSessionLeft = "session.left", kFileCopied = "file.copied",
                                  kSessionPaused = "session.paused",
                                  kSessionResumed = "session.resumed", kHookResult = "hook.result",
                                  kFinding = "finding", kRunRequeued = "run.requeued";

bool IsBaseType(std::string_view type);      // of the protocol's own vocabulary
bool IsTerminalType(std::string_view type);  // run.completed, run.failed, run.cancelled

json::Value RunCreated();
json::Value RunClaimed(const RunnerId& runner, const KeyId& runner_key);
json::Value WorkspaceMaterialized(const Digest& manifest_hash);
json::Value PolicyEvaluated(std::string_view decision, std::string_view reason);
json::Value ConsentRequested(std::string_view requirement);
json::Value ConsentGranted(const Actor& actor);
json::Value SecretReleased(const SecretGrant& grant);
// exit_code: 127 not found, 126 not executable, 128+n for signal n, which is then said as `signal`
// too. An unobserved status has no event at all (L17).
json::Value CommandExecuted(const Digest& argv_hash, int exit_code,
                            std::optional<int> signal = std::nullopt);
// kZeroDigest for a deleted file. path_bytes: only for a path that is not UTF-8; `path` is then its
// quoted form.
json::Value FileChanged(std::string_view path, const Digest& content_hash,
                        std::optional<std::string_view> path_bytes = std::nullopt);
json::Value NetworkConnected(std::string_view host, NetworkDecision decision);
json::Value ModelCalled(std::string_view provider, std::string_view model);
json::Value BoundaryCrossed(Direction direction, const Digest& content_hash,
                            std::string_view data_class);
json::Value ArtifactCreated(ArtifactKind kind, const Digest& hash);
// A declared output file (kind `file`): ours, because of the two further members. The path is as in
// FileChanged.
json::Value FileArtifactCreated(const Digest& hash, std::string_view path, std::uint64_t bytes);
json::Value CheckpointCreated(std::string_view checkpoint_id, std::string_view tier);
json::Value RunCompleted();
json::Value RunFailed(FailureClass failure, std::string_view message);
json::Value RunCancelled(const Actor& actor);
// Written by the plane before the end of a lost run: the new run that repeats it.
json::Value RunRequeued(const RunId& as);

// Where a released secret went: "environment" of the job, or "proxy" only.
json::Value SecretDelivered(const SecretName& name, std::string_view to);
json::Value SecretWithheld(const SecretName& name, std::string_view reason);

struct FlowSummary {
  std::string host;
  std::uint16_t port = 0;
  std::string rule;  // id of the deciding rule
  NetworkDecision decision = NetworkDecision::kAllowed;
  std::uint64_t flows = 0, bytes_out = 0, bytes_in = 0;  // bytes as the job sees them
  std::string close_reason;
};
json::Value NetworkFlow(const FlowSummary& flow);

// Counters at the end; nullopt is written as "unavailable" (the tier has no such counter).
struct NetworkCounters {
  std::uint64_t flows = 0, bytes_out = 0, bytes_in = 0, blocked = 0;  // the proxy's own
  std::optional<std::uint64_t> kernel_connections, kernel_bytes_out, kernel_bytes_in;
};
json::Value NetworkClosed(const NetworkCounters& counters);
json::Value SessionPlanned(const Digest& plan_hash);
json::Value SessionStarted(std::string_view backend, Tier tier);
json::Value SessionClosed(const std::vector<std::string>& leaks,
                          std::optional<std::uint64_t> duration_ms);
// Somebody used the way into a running session that its operator had granted: `use` counts from 1
// within the run and ties entering and leaving together. mode: "exec", "attach", "copy",
// "checkpoint". A runner that was killed in between leaves no session.left.
struct SessionEntry {
  std::uint64_t use = 0;
  std::string_view mode;
  Actor actor;
  std::optional<Digest> argv_hash;  // exec: as an execution hash
  bool terminal = false;
  bool input = false;  // attach: keys reach the job
};
json::Value SessionEntered(const SessionEntry& entry);
struct SessionLeaving {
  std::uint64_t use = 0;
  std::string_view mode;
  std::optional<int> exit_code;  // exec: absent where it was not observed (L17)
  std::optional<int> signal;
  std::string_view reason;  // why it ended without an exit: "left", "session ended", a code
  std::uint64_t duration_ms = 0;
  std::uint64_t bytes_in = 0, bytes_out = 0;  // as the session sees them
};
json::Value SessionLeft(const SessionLeaving& leaving);
// The operator made the machine of the running job stand still, and go on. A job that is ended
// while it stands still has no session.resumed: its end says when.
json::Value SessionPaused(const Actor& actor);
json::Value SessionResumed(const Actor& actor, std::uint64_t paused_ms);
// What a copy of a use carried. content_hash: of a file its bytes, of a directory the hash of
// [{path,hash,bytes}] in the order of the copy. The path is left out where the contract discloses
// nothing.
struct FileCopy {
  std::uint64_t use = 0;
  Direction direction = Direction::kOut;
  std::optional<std::string_view> path;
  Digest content_hash;
  std::uint64_t files = 0, bytes = 0, left_out = 0;
};
json::Value FileCopied(const FileCopy& copy);
// How a hook of the operator ended; nullopt: by a signal, or it was ended at its deadline.
struct HookOutcome {
  std::string_view hook;  // "before-run", "after-run", ...
  std::optional<int> exit_code;
  std::uint64_t duration_ms = 0;
  bool veto = false;
};
json::Value HookResult(const HookOutcome& outcome);
// Something that an auditor should see: a stable code, a sentence, and optionally a path.
json::Value Finding(std::string_view code, std::string_view message,
                    std::optional<std::string_view> path = std::nullopt);

}  // namespace writ::protocol::events
