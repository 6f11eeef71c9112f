// The closed vocabularies of the protocol: enums with their words, both ways.
//
// For each enum E: `kETable` (for ObjectReader::Enum), `Word(E)` and `ParseE(text)`, which gives
// nullopt for any other text. Event type names that we do not know stay text (append-only:
// event.h).
#pragma once

#include <optional>
#include <string_view>

#include "writ/protocol/reader.h"

namespace writ::protocol {

enum class FailureClass {
  kPolicyDenied,
  kConsentTimeout,
  kCapabilityMismatch,
  kAttestationFailed,
  kSecretReleaseDenied,
  kCaptureFailed,
  kTransferFailed,
  kSessionFailed,
  kSideEffectConflict,
  kBudgetExceeded,
};
inline constexpr json::EnumName<FailureClass> kFailureClassTable[] = {
    {FailureClass::kPolicyDenied, "policy_denied"},
    {FailureClass::kConsentTimeout, "consent_timeout"},
    {FailureClass::kCapabilityMismatch, "capability_mismatch"},
    {FailureClass::kAttestationFailed, "attestation_failed"},
    {FailureClass::kSecretReleaseDenied, "secret_release_denied"},
    {FailureClass::kCaptureFailed, "capture_failed"},
    {FailureClass::kTransferFailed, "transfer_failed"},
    {FailureClass::kSessionFailed, "session_failed"},
    {FailureClass::kSideEffectConflict, "side_effect_conflict"},
    {FailureClass::kBudgetExceeded, "budget_exceeded"},
};

enum class Disclosure { kNone, kMetadataOnly, kRedacted, kMinimalContext, kFull };
inline constexpr json::EnumName<Disclosure> kDisclosureTable[] = {
    {Disclosure::kNone, "none"},         {Disclosure::kMetadataOnly, "metadata-only"},
    {Disclosure::kRedacted, "redacted"}, {Disclosure::kMinimalContext, "minimal-context"},
    {Disclosure::kFull, "full"},
};

// A run's state on the plane (protocol.md section 4).
enum class RunState {
  kCreated,
  kClaimed,
  kProvisioning,
  kRunning,
  kAwaitingApproval,
  kCompleted,
  kFailed,
  kCancelled
};
inline constexpr json::EnumName<RunState> kRunStateTable[] = {
    {RunState::kCreated, "created"},
    {RunState::kClaimed, "claimed"},
    {RunState::kProvisioning, "provisioning"},
    {RunState::kRunning, "running"},
    {RunState::kAwaitingApproval, "awaiting_approval"},
    {RunState::kCompleted, "completed"},
    {RunState::kFailed, "failed"},
    {RunState::kCancelled, "cancelled"},
};

// How a receipt says that a run ended; the terminal event is "run." and this word.
enum class RunStatus { kCompleted, kFailed, kCancelled };
inline constexpr json::EnumName<RunStatus> kRunStatusTable[] = {
    {RunStatus::kCompleted, "completed"},
    {RunStatus::kFailed, "failed"},
    {RunStatus::kCancelled, "cancelled"},
};

enum class Signer { kOrg, kPlane, kRunner };
inline constexpr json::EnumName<Signer> kSignerTable[] = {
    {Signer::kOrg, "org"}, {Signer::kPlane, "plane"}, {Signer::kRunner, "runner"}};

enum class ActorKind { kHuman, kService };
inline constexpr json::EnumName<ActorKind> kActorKindTable[] = {{ActorKind::kHuman, "human"},
                                                                {ActorKind::kService, "service"}};

enum class NetworkDecision { kAllowed, kBlocked };
inline constexpr json::EnumName<NetworkDecision> kNetworkDecisionTable[] = {
    {NetworkDecision::kAllowed, "allowed"}, {NetworkDecision::kBlocked, "blocked"}};

enum class Direction { kIn, kOut };
inline constexpr json::EnumName<Direction> kDirectionTable[] = {{Direction::kIn, "in"},
                                                                {Direction::kOut, "out"}};

enum class ArtifactKind { kDiff, kLog, kFile, kBundle, kTrace };
inline constexpr json::EnumName<ArtifactKind> kArtifactKindTable[] = {
    {ArtifactKind::kDiff, "diff"},
    {ArtifactKind::kLog, "log"},
    {ArtifactKind::kFile, "file"},
    {ArtifactKind::kBundle, "bundle"},
    {ArtifactKind::kTrace, "trace"}};

// Our isolation tiers (design.md section 3). Words of other planes are mapped by operator
// configuration.
enum class Tier { kProcess, kSandbox, kContainer, kMicroVm };
inline constexpr json::EnumName<Tier> kTierTable[] = {{Tier::kProcess, "process"},
                                                      {Tier::kSandbox, "sandbox"},
                                                      {Tier::kContainer, "container"},
                                                      {Tier::kMicroVm, "microvm"}};

// Data classes are open; these are the ones that we write.
inline constexpr std::string_view kDataClassCodeDiff = "code-diff";
inline constexpr std::string_view kDataClassCodeDelta = "code-delta";
inline constexpr std::string_view kDataClassSessionLog = "session-log";
inline constexpr std::string_view kDataClassArtifact = "artifact";
inline constexpr std::string_view kDataClassWorkspace = "workspace";

inline constexpr std::string_view kAttestationTierMock =
    "mock";  // a software key: proves nothing about the machine

template <typename E, std::size_t N>
constexpr std::string_view WordIn(const json::EnumName<E> (&table)[N], E value) {
  for (const auto& entry : table)
    if (entry.value == value) return entry.name;
  return {};
}
template <typename E, std::size_t N>
constexpr std::optional<E> ParseIn(const json::EnumName<E> (&table)[N], std::string_view text) {
  for (const auto& entry : table)
    if (entry.name == text) return entry.value;
  return std::nullopt;
}

#define WRIT_PROTOCOL_WORDS(E)                                 \
  constexpr std::string_view Word(E value) {                   \
    return WordIn(k##E##Table, value);                         \
  }                                                            \
  constexpr std::optional<E> Parse##E(std::string_view text) { \
    return ParseIn(k##E##Table, text);                         \
  }
WRIT_PROTOCOL_WORDS(FailureClass)
WRIT_PROTOCOL_WORDS(Disclosure)
WRIT_PROTOCOL_WORDS(RunState)
WRIT_PROTOCOL_WORDS(RunStatus)
WRIT_PROTOCOL_WORDS(Signer)
WRIT_PROTOCOL_WORDS(ActorKind)
WRIT_PROTOCOL_WORDS(NetworkDecision)
WRIT_PROTOCOL_WORDS(Direction)
WRIT_PROTOCOL_WORDS(ArtifactKind)
WRIT_PROTOCOL_WORDS(Tier)
#undef WRIT_PROTOCOL_WORDS

}  // namespace writ::protocol
