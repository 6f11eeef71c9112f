// The parts of a Plane, and the steps that several of its operations share.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "admin_chain.h"
#include "blob_parts.h"
#include "blob_store.h"
#include "change_signal.h"
#include "key_ring.h"
#include "live_logs.h"
#include "plane_metrics.h"
#include "policy_engine.h"
#include "policy_keeper.h"
#include "queue_signals.h"
#include "rates.h"
#include "store/store.h"
#include "tokens.h"
#include "writ/plane/plane.h"
#include "writ/protocol/event.h"
#include "writ/protocol/events.h"

namespace writ::plane {

struct Plane::Impl {
  const std::string dir;
  const Clock& clock;
  Config config;
  KeyRing keys;
  PolicyKeeper policy_keeper;
  std::unique_ptr<store::Store> store;
  BlobStore blobs;
  BlobParts parts;
  LiveLogs logs;
  ChangeSignal changed;  // of runs, for those who watch one
  std::unique_ptr<QueueSignals> queue = std::make_unique<QueueSignals>();
  // When the key in use ends, by the manifest in the directory, which another process may change.
  std::atomic<std::int64_t> key_ends_ms{INT64_MAX};
  std::unique_ptr<PlaneMetrics> metrics = std::make_unique<PlaneMetrics>();

  void NoteKeyTime();
  // kUnavailable "plane.key_retired" where another process has rotated the key and its time is
  // over.
  Status CheckKeyInUse() const;
  // Notes a key other than that of the last Open in the admin chain.
  Status RecordKey();
  // The same for the configuration: a hash other than that of the last Open (of the defaults,
  // before the first) is noted, with the grants in words.
  Status RecordConfig();

  // The policy in force. A change of the file since the last time is recorded in the admin chain
  // first.
  Result<std::shared_ptr<const LoadedPolicy>> Policy();
  Status RecordPolicy(const LoadedPolicy& policy, std::string_view actor);
  Status Admin(store::Database& db, std::string_view type, const Caller& caller,
               json::Object fields) {
    return AppendAdminEntry(db, keys.plane_key_id, clock.Now(), type, caller.name,
                            std::move(fields));
  }

  // Ends an unclaimed run by the plane itself: `expected` state, or kConflict.
  Status EndUnclaimed(const std::string& run_id, RunState expected, protocol::FailureClass failure,
                      const std::string& message);
  // Closes an open run in its runner's place with a receipt that the plane signs, if it is lost
  // still (plane_lost.cc), and repeats it where its contract allows that.
  Status CloseLost(const std::string& run_id);
  // Every lost run, now.
  Status CloseLostRuns();
  Result<Secret> SecretValue(const protocol::SecretGrant& grant);
  // A run was claimed: at once, or by its acknowledgement.
  void NoteClaimed(const protocol::Contract& contract, const char* kind);
  Status SweepExpired();
  // What is over by the policy's terms (plane_gc.cc): rows now, blobs when their time has come.
  Status SweepRetention();
};

// Rows of the runs table.
RunSummary ReadSummary(const store::Query& row, int first);
inline constexpr const char* kSummaryColumns =
    "run_id, status, agent_kind, pool, prompt, requested_by, created_at, updated_at, requirements, "
    "receipt IS NOT NULL, cancel_actor IS NOT NULL, failure, closed_reason, retry_of, retried_as, "
    "EXISTS (SELECT 1 FROM late_receipts l WHERE l.run_id = runs.run_id)";
inline constexpr int kSummaryColumnCount = 16;

Error RunNotFound();
Error StateConflict(const std::string& run_id, const std::string& what);

// A run's chain, inside a transaction.
Result<protocol::ChainHead> ChainHeadOf(store::Database& db, const std::string& run_id,
                                        const std::string& contract_hash);
Status InsertEvent(store::Database& db, const std::string& run_id, const protocol::Event& event);
// What the event names among the blobs outlives its run's term.
Status KeepNamedBlob(store::Database& db, const std::string& run_id, const protocol::Event& event);
// What a run's workspace is made of is kept from its request on, also while it waits for approval.
Status KeepWorkspaceBlobs(store::Database& db, const std::string& run_id,
                          const protocol::Manifest& workspace);
Result<std::vector<std::string>> EventTexts(store::Database& db, const std::string& run_id);

// In whose name the caller acts or asks: an administrator may name somebody; anybody else is who
// they are. kDenied "forbidden".
Result<Actor> ActingAs(const Caller& caller, const std::optional<Actor>& named);
// An entry of the admin chain where the caller acts in another's name: the run's own chain holds
// the named one. `act`: "submit", "approve", "cancel".
Status NoteActingAs(Plane::Impl& plane, store::Database& db, const Caller& caller,
                    const Actor& actor, const std::string& run_id, std::string_view act);
json::Value ActorJson(const Actor& actor);
Result<Actor> ParseActor(std::string_view text);

// What a signed contract is made from.
struct ContractInput {
  std::string run_id;
  WallTime now;
  const RunRequest& request;
  const PolicyDecision& decision;
  std::string policy_hash;
  std::vector<Actor> approved_by;
  std::optional<protocol::RunId> retry_of = std::nullopt;
};
Result<protocol::Contract> IssueContract(const Plane::Impl& plane, const ContractInput& input);
// A row of its own, `created` or `awaiting_approval`, with the consents that are asked for.
struct NewRun {
  const ContractInput& input;
  const json::Value& raw;  // the request as accepted
  std::string submitted_by;
  WallTime expires_at;
  std::int64_t attempt = 1;
};
Status InsertRun(store::Database& db, const NewRun& run);
// Writes the contract into the run and begins its chain: run.created, policy.evaluated, and what
// was asked and granted.
Status BeginChain(store::Database& db, const protocol::Contract& contract,
                  const PolicyDecision& decision, WallTime now);

}  // namespace writ::plane
