// Who may act on a claimed run: claim tokens and runner tokens against the store, and the run as
// its runner's calls see it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "plane_impl.h"
#include "runner_identity.h"
#include "writ/protocol/runner_capabilities.h"

namespace writ::plane {

struct ClaimedRun {
  std::string status, pool, contract, contract_hash, disclosure, receipt;
  std::string runner_id;   // empty: nobody has claimed it
  std::string runner_key;  // PEM of the key at the claim
  std::string claim_nonce, offer_nonce, closed_reason;
  std::int64_t offered_until = 0;
  WallTime expires_at;
  std::chrono::milliseconds timeout{0};
  std::optional<WallTime> seen_at;
  std::string cancel_actor;  // JSON; empty: nobody asked
  RunState state() const { return protocol::ParseRunState(status).value_or(RunState::kFailed); }
  bool cancel_requested() const { return !cancel_actor.empty(); }
};
// kNotFound "run.not_found".
Result<ClaimedRun> FindRun(store::Database& db, const std::string& run_id);

// Form and signature, by the plane's key or one of its keys of before.
Result<ClaimTokenFacts> ReadClaimToken(const Plane::Impl& plane, std::string_view token);
// The same, and the run; expiry, ledger and use are left to the caller.
Result<ClaimTokenFacts> CheckClaimToken(const Plane::Impl& plane, std::string_view token,
                                        const std::string& run_id);
// kDenied "unauthorized".
Status CheckExpiry(const Plane::Impl& plane, const ClaimTokenFacts& facts);
// That the token belongs to a claim that was made: one of an offer that nobody acknowledged opens
// nothing.
Status CheckLedger(store::Database& db, const ClaimTokenFacts& facts);
// A token that opens something now: form, signature, expiry, runner and ledger.
Result<ClaimTokenFacts> OpenClaimToken(const Plane::Impl& plane, std::string_view token);
// Where the claim token has run out the runner's own token proves who it is, with `runner_token`.
// kDenied "unauthorized".
Status CheckExpiryOrRunner(Plane::Impl& plane, const ClaimTokenFacts& facts,
                           std::string_view runner_token);
// kDenied "runner.revoked".
Status CheckRunnerNotRevoked(store::Database& db, const std::string& runner_id);
Error RunnerRevoked();
// Event types that a runner never writes.
bool WrittenByPlaneOnly(std::string_view type);
// kConflict: what a runner hears about a run that is over.
Error RunEnded(const std::string& run_id, const ClaimedRun& run);

// The runner of a token. The first use of a token that rotation gave ends the one before it.
// kDenied "unauthorized", "runner.revoked".
Result<RunnerIdentity> AuthenticateRunner(Plane::Impl& plane, std::string_view runner_token);

// Long enough for the job, and an hour for everything around it.
std::chrono::milliseconds ClaimTokenLife(std::chrono::milliseconds job_timeout);
// Writes a fresh token of a claimed run into the ledger.
Result<std::string> IssueClaimToken(const Plane::Impl& plane, store::Database& db,
                                    const std::string& run_id, const std::string& runner_id,
                                    WallTime expires_at);
Status EnterIntoLedger(store::Database& db, const ClaimTokenFacts& facts);

// The next contract of the runner's pool that may be shown to it; nullopt: none.
struct QueuedRun {
  std::string run_id, contract, contract_hash;
  std::chrono::milliseconds timeout{0};
};
struct QueueLook {
  const RunnerIdentity& runner;
  WallTime now;
  const std::string& only_run;  // empty: the first of the queue that the runner can do
  const protocol::RunnerCapabilities* can = nullptr;  // nullptr: everything
};
Result<std::optional<QueuedRun>> NextInQueue(store::Database& db, const QueueLook& look);
// run.claimed and secret.released, in the transaction that made the run `claimed`.
Status WriteClaimEvents(store::Database& db, const QueuedRun& run, const RunnerIdentity& runner,
                        const std::vector<protocol::SecretGrant>& grants, WallTime now);
// The values for a run's grants, checked once more against the policy in force (the contract may be
// older than the policy).
Result<std::vector<ReleasedSecret>> FetchSecrets(Plane::Impl& plane, const std::string& pool,
                                                 const std::vector<protocol::SecretGrant>& grants);

}  // namespace writ::plane
