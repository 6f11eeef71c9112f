// The run contract `warrant.contract.v1`: what a plane signed and a runner does.
//
// A Contract that came through Parse holds its rules (types, patterns, enums); unknown optional
// members are ignored but kept in `raw`, and so under the hash. Whether it may run here and now -
// signature under a pinned key, expiry, pool, capabilities - is CheckForRun and the runner's plan
// (L1, L4).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "writ/base/clock.h"
#include "writ/protocol/execution.h"
#include "writ/protocol/keys.h"
#include "writ/protocol/manifest.h"

namespace writ::protocol {

inline constexpr std::string_view kContractVersion = "warrant.contract.v1";

struct Actor {
  ActorKind kind = ActorKind::kHuman;
  std::string id;
  json::Value ToJson() const;
  static Actor Read(json::ObjectReader reader);
};

struct SecretGrant {
  SecretName name;
  std::string scope;  // e.g. "pool:default"
  bool operator==(const SecretGrant&) const = default;
};

struct NetworkSpec {
  bool default_deny = true;
  std::vector<AllowedHost> allow_hosts;
  json::Value ToJson() const;
  static NetworkSpec Read(json::ObjectReader reader);
};

struct Budget {
  std::optional<double> max_spend_usd;
  std::optional<double> max_duration_min;
  json::Value ToJson() const;
  static Budget Read(json::ObjectReader reader);
};

// The checkpoint of another run that this one begins from (event checkpoint.created).
struct Continuation {
  Digest envelope_hash;       // the contract hash of the run that it was taken of
  std::string checkpoint_id;  // ours: the hash of its bytes
  std::string tier;           // what it is of, and what makes something of it
};
// The only one of ours: what a job in a machine has changed of its workspace. Its memory is no
// part of it, so whatever begins from it is a new machine.
inline constexpr std::string_view kCheckpointTier = "microvm-files";

// The W3C trace context of a request (https://www.w3.org/TR/trace-context/): our extension.
struct TraceContext {
  std::string traceparent;  // "00-TRACE-PARENT-FLAGS", lower-case hex
  std::string trace_id() const { return traceparent.substr(3, 32); }
  bool operator==(const TraceContext&) const = default;
};
// Version 00 with a trace and a parent id that are not all zero; nothing else is passed on.
bool IsTraceparent(std::string_view text);

struct Contract {
  RunId run_id;
  WallTime issued_at;
  KeyId issuer_key;
  std::string issuer_role = "plane";
  Actor requested_by;
  std::vector<Actor> approved_by;
  AgentSpec agent;
  std::string prompt;
  PoolName pool;
  Manifest workspace;
  Digest policy_hash;
  std::vector<SecretGrant> secrets;
  NetworkSpec network;
  Budget budget;
  Disclosure disclosure = Disclosure::kMinimalContext;
  std::optional<Execution> execution;
  std::optional<std::string> isolation;  // ours, or a word of another plane
  std::optional<Continuation> continuation;
  std::optional<RunId> retry_of;  // the lost run that this one repeats: our extension
  std::optional<TraceContext> trace;
  WallTime expires_at;
  std::vector<Signature> signatures;
  json::Value raw;  // as it was read or sealed

  static Result<Contract> Parse(const json::Value& value);
  // Unsigned JSON of the typed members: what Seal signs.
  json::Value BuildUnsigned() const;
  Digest Hash() const;  // contract hash, over `raw` without `signatures`
  Digest ManifestHash() const { return workspace.Hash(); }

  // The execution, or the default: kind `command` runs the prompt as `sh -c`, any other gets it as
  // task.
  Execution EffectiveExecution() const;
  // The agent kind whose program is needed; empty where an argv or shell execution names none.
  std::string NeededAgent() const;
};

// Builds, checks by Parse and signs. The issuer key id is set from `plane_key`.
Result<Contract> SealContract(Contract draft, const PrivateKey& plane_key);

struct ContractExpectations {
  const PublicKey* plane_key = nullptr;  // pinned; never null
  PoolName pool;
  std::optional<RunId> run_id;  // as the claim said it
  WallTime now;
};
// L1: signature under the pinned key, not expired, pool, run id. kIntegrity "contract.signature"
// and "contract.issuer", kDenied "contract.expired" and "contract.pool", kIntegrity
// "contract.run_id".
Status CheckForRun(const Contract& contract, const ContractExpectations& expected);

}  // namespace writ::protocol
