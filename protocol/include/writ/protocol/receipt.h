// The receipt `warrant.receipt.v1`: the runner's signed account of a run, countersigned by the
// plane.
//
// Most of a receipt follows from the chain; ReceiptFromEvents derives it, so that it agrees with
// the events by construction. Unknown optional members are ignored but kept in `raw`, and so under
// the hash.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "writ/protocol/contract.h"
#include "writ/protocol/event.h"
#include "writ/protocol/keys.h"

namespace writ::protocol {

inline constexpr std::string_view kReceiptVersion = "warrant.receipt.v1";

struct SecretRelease {
  SecretName name;
  std::string scope;
  WallTime ts;
  bool operator==(const SecretRelease&) const = default;
};
struct NetworkAccess {
  std::string host;  // as recorded; may be an address
  NetworkDecision decision = NetworkDecision::kBlocked;
  bool operator==(const NetworkAccess&) const = default;
};
struct ModelUse {
  std::string provider, model;
  bool operator==(const ModelUse&) const = default;
};
struct BoundaryDisclosure {
  Direction direction = Direction::kOut;
  Digest content_hash;
  std::string data_class;
  bool operator==(const BoundaryDisclosure&) const = default;
};

// A receipt that the plane closed in its runner's place, because the runner was not heard of any
// more: no runner signature, never `completed` (protocol.md section 6). {kind:"plane",...}.
enum class CloseReason { kLeaseExpired, kRunnerRevoked };
inline constexpr json::EnumName<CloseReason> kCloseReasonTable[] = {
    {CloseReason::kLeaseExpired, "lease_expired"}, {CloseReason::kRunnerRevoked, "runner_revoked"}};
struct ClosedByPlane {
  CloseReason reason = CloseReason::kLeaseExpired;
  WallTime last_seen;  // by the plane's clock
};

struct Receipt {
  RunId run_id;
  Digest contract_hash;
  RunnerId runner_id;
  KeyId runner_key;
  PoolName pool;
  std::string attestation_tier;
  std::optional<std::string> isolation;
  std::optional<json::Value> environment;  // runner.environment: our extension; an object
  WallTime started_at, ended_at;
  RunStatus status = RunStatus::kFailed;
  Digest events_head;
  std::uint64_t event_count = 0;
  std::string base_ref;
  Digest manifest_hash;
  std::optional<Digest> diff_hash;  // nullopt is written as ""
  std::vector<Digest> artifact_hashes;
  std::vector<SecretRelease> secrets_released;
  std::vector<NetworkAccess> network_accessed;
  std::vector<ModelUse> models_used;
  std::vector<BoundaryDisclosure> boundary_disclosures;
  std::optional<double> cost_usd;
  std::optional<ClosedByPlane> closed_by;
  std::vector<Signature> signatures;
  json::Value raw;  // as it was read or signed

  static Result<Receipt> Parse(const json::Value& value);
  json::Value BuildUnsigned() const;  // of the typed members, without `signatures`
  Digest Hash() const;                // over `raw` (or BuildUnsigned) without `signatures`
};

// What a receipt's summaries must be, given the events (distinct pairs first seen first; the rest
// in order).
struct EventSummary {
  std::vector<SecretRelease> secrets_released;
  std::vector<NetworkAccess> network_accessed;
  std::vector<ModelUse> models_used;
  std::vector<BoundaryDisclosure> boundary_disclosures;
  std::vector<Digest> artifact_hashes;
  std::optional<Digest> first_diff;   // the first artifact of kind diff
  std::optional<RunStatus> terminal;  // of the last event
};
EventSummary Summarize(std::span<const Event> events);

// What only the runner knows.
struct ReceiptFacts {
  RunnerId runner_id;
  PoolName pool;
  std::string attestation_tier = std::string(kAttestationTierMock);
  std::optional<std::string> isolation;
  std::optional<json::Value> environment;
  std::optional<double> cost_usd;
};
// The whole chain, terminal event last. kInternal "receipt.chain_not_terminal" otherwise.
Result<Receipt> ReceiptFromEvents(const Contract& contract, std::span<const Event> events,
                                  const ReceiptFacts& facts);

// Signs as the runner (sets runner_key) and fills `raw`.
Status SignAsRunner(Receipt& receipt, const PrivateKey& runner_key);
// Adds the plane's signature over the same hash; refuses a receipt whose runner signature is not
// `runner`'s (kIntegrity "receipt.runner_signature").
Status CountersignAsPlane(Receipt& receipt, const PublicKey& runner, const PrivateKey& plane_key);

// Signs as the plane alone; `runner_key` of the receipt is the one of the claim. kInvalid
// "receipt.not_closed" where closed_by is not set or the status is `completed`.
Status SignInPlaceOfRunner(Receipt& receipt, const PrivateKey& plane_key);

}  // namespace writ::protocol
