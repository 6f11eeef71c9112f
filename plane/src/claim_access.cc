#include "claim_access.h"

#include "writ/base/encoding.h"

namespace writ::plane {

Result<ClaimedRun> FindRun(store::Database& db, const std::string& run_id) {
  WRIT_ASSIGN(
      auto row,
      db.Ask("SELECT status, pool, contract, contract_hash, disclosure, receipt, runner_id, "
             "runner_key, claim_nonce, offer_nonce, closed_reason, offered_until, "
             "expires_at, timeout_ms, seen_at, cancel_actor FROM runs WHERE run_id = ?",
             run_id));
  WRIT_ASSIGN(bool any, row.Next());
  if (!any) return RunNotFound();
  ClaimedRun run{.status = row.Text(0),
                 .pool = row.Text(1),
                 .contract = row.Text(2),
                 .contract_hash = row.Text(3),
                 .disclosure = row.Text(4),
                 .receipt = row.Text(5),
                 .runner_id = row.Text(6),
                 .runner_key = row.Text(7),
                 .claim_nonce = row.Text(8),
                 .offer_nonce = row.Text(9),
                 .closed_reason = row.Text(10),
                 .offered_until = row.Int(11),
                 .expires_at = WallTime{row.Int(12)},
                 .timeout = std::chrono::milliseconds(row.Int(13)),
                 .seen_at = std::nullopt,
                 .cancel_actor = row.Text(15)};
  if (auto seen = row.OptionalInt(14)) run.seen_at = WallTime{*seen};
  return run;
}

Result<ClaimTokenFacts> ReadClaimToken(const Plane::Impl& plane, std::string_view token) {
  auto facts = ParseClaimToken(token, plane.keys.plane_public);
  if (facts || facts.error().code != "unauthorized") return facts;
  for (const auto& key : plane.keys.retired) {
    if (auto older = ParseClaimToken(token, key.Public())) return older;
  }
  return facts;
}

Result<ClaimTokenFacts> CheckClaimToken(const Plane::Impl& plane, std::string_view token,
                                        const std::string& run_id) {
  WRIT_ASSIGN(auto facts, ReadClaimToken(plane, token));
  if (!ConstantTimeEqual(facts.run_id, run_id)) return Unauthorized("claim token run mismatch");
  return facts;
}

Status CheckExpiry(const Plane::Impl& plane, const ClaimTokenFacts& facts) {
  if (facts.expires_at <= plane.clock.Now()) return Unauthorized("claim token has expired");
  return {};
}

Status CheckLedger(store::Database& db, const ClaimTokenFacts& facts) {
  WRIT_ASSIGN(auto known, db.Number("SELECT 1 FROM claim_tokens WHERE nonce = ? AND run_id = ? AND "
                                    "runner_id = ?",
                                    facts.nonce, facts.run_id, facts.runner_id));
  if (!known) return Unauthorized("invalid claim token");
  return {};
}

Result<ClaimTokenFacts> OpenClaimToken(const Plane::Impl& plane, std::string_view token) {
  WRIT_ASSIGN(auto facts, ReadClaimToken(plane, token));
  WRIT_TRY(CheckExpiry(plane, facts));
  WRIT_TRY(plane.store->Read([&](store::Database& db) -> Status {
    WRIT_TRY(CheckRunnerNotRevoked(db, facts.runner_id));
    return CheckLedger(db, facts);
  }));
  return facts;
}

Status CheckExpiryOrRunner(Plane::Impl& plane, const ClaimTokenFacts& facts,
                           std::string_view runner_token) {
  if (facts.expires_at > plane.clock.Now()) return {};
  if (runner_token.empty()) return Unauthorized("claim token has expired");
  WRIT_ASSIGN(auto who, AuthenticateRunner(plane, runner_token));
  if (who.runner_id != facts.runner_id) return Unauthorized("invalid runner token");
  return {};
}

Error RunnerRevoked() {
  return Error{.kind = ErrorKind::kDenied,
               .code = "runner.revoked",
               .message = "the runner has been revoked",
               .hint = "end the job; the plane closes the run"};
}

Status CheckRunnerNotRevoked(store::Database& db, const std::string& runner_id) {
  WRIT_ASSIGN(
      auto open,
      db.Number("SELECT 1 FROM runners WHERE runner_id = ? AND revoked_at IS NULL", runner_id));
  if (!open) return RunnerRevoked();
  return {};
}

Error RunEnded(const std::string& run_id, const ClaimedRun& run) {
  if (run.closed_reason.empty()) {
    return Error{.kind = ErrorKind::kConflict,
                 .code = "run.ended",
                 .message = "run " + run_id + " is " + run.status};
  }
  return Error{.kind = ErrorKind::kConflict,
               .code = "run.ended",
               .message = "run " + run_id + " was closed by the plane: " + run.closed_reason,
               .hint = "send what was finished to /v1/runs/" + run_id + "/late"};
}

Result<RunnerIdentity> AuthenticateRunner(Plane::Impl& plane, std::string_view runner_token) {
  WRIT_ASSIGN(auto runner,
              plane.store->Read([&](store::Database& db) { return FindRunner(db, runner_token); }));
  if (!runner.first_use) return runner;
  WRIT_TRY(plane.store->Write([&](store::Database& db) -> Status {
    WRIT_TRY(
        db.Do("UPDATE runner_tokens SET used_at = ? WHERE token_hash = ? AND used_at IS "
              "NULL",
              plane.clock.Now().unix_ms, TokenHash(runner_token)));
    return {};
  }));
  return runner;
}

std::chrono::milliseconds ClaimTokenLife(std::chrono::milliseconds job_timeout) {
  return job_timeout + std::chrono::hours(1);
}

Status EnterIntoLedger(store::Database& db, const ClaimTokenFacts& facts) {
  WRIT_TRY(
      db.Do("INSERT OR IGNORE INTO claim_tokens (nonce, run_id, runner_id, "
            "expires_at) VALUES (?,?,?,?)",
            facts.nonce, facts.run_id, facts.runner_id, facts.expires_at.unix_ms));
  return {};
}

Result<std::string> IssueClaimToken(const Plane::Impl& plane, store::Database& db,
                                    const std::string& run_id, const std::string& runner_id,
                                    WallTime expires_at) {
  const ClaimTokenFacts facts{.run_id = run_id,
                              .runner_id = runner_id,
                              .nonce = Base64UrlEncode(RandomBytes(16)),
                              .expires_at = expires_at};
  WRIT_TRY(EnterIntoLedger(db, facts));
  return MintClaimToken(facts, plane.keys.plane);
}

}  // namespace writ::plane
