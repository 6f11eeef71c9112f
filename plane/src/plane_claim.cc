// Claims: the next contract of a pool, once, with its secrets.
#include "plane_impl.h"
#include "runner_identity.h"
#include "sealing.h"
#include "secret_source.h"
#include "writ/base/encoding.h"
#include "writ/base/log.h"

namespace writ::plane {

Result<RunnerIdentity> FindRunner(store::Database& db, std::string_view runner_token) {
  const std::string hash = TokenHash(runner_token);
  WRIT_ASSIGN(auto row,
              db.Ask("SELECT r.runner_id, r.pool, r.key_id, r.public_key, t.token_hash "
                     "FROM runner_tokens t JOIN runners r USING (runner_id) "
                     "WHERE t.token_hash = ? AND t.revoked_at IS NULL AND r.revoked_at IS NULL",
                     hash));
  WRIT_ASSIGN(bool any, row.Next());
  if (!any || !ConstantTimeEqual(row.Text(4), hash)) return Unauthorized("invalid runner token");
  return RunnerIdentity{row.Text(0), row.Text(1), row.Text(2), row.Text(3)};
}

Result<RunnerIdentity> FindRunnerById(store::Database& db, const std::string& runner_id) {
  WRIT_ASSIGN(auto row, db.Ask("SELECT runner_id, pool, key_id, public_key FROM runners "
                               "WHERE runner_id = ?",
                               runner_id));
  WRIT_ASSIGN(bool any, row.Next());
  if (!any) return Unauthorized("invalid claim token");
  return RunnerIdentity{row.Text(0), row.Text(1), row.Text(2), row.Text(3)};
}

Result<Secret> Plane::Impl::SecretValue(const protocol::SecretGrant& grant) {
  struct Row {
    SecretSource source;
    std::string sealed;
  };
  WRIT_ASSIGN(Row row, store->Read([&](store::Database& db) -> Result<Row> {
    WRIT_ASSIGN(auto found,
                db.Ask("SELECT source, sealed FROM secrets WHERE name = ? AND scope = ?",
                       grant.name.text(), grant.scope));
    WRIT_ASSIGN(bool any, found.Next());
    if (!any) {
      return Error{.kind = ErrorKind::kNotFound,
                   .code = "secret.not_found",
                   .message = "this plane holds no value for secret \"" + grant.name.text() + "\""};
    }
    WRIT_ASSIGN(SecretSource source, ParseSource(found.Text(0)));
    return Row{std::move(source), found.Text(1)};
  }));
  if (row.source.kind == SecretSource::Kind::kSealed) {
    return Unseal(keys.seal, grant.name.text(), grant.scope, row.sealed);
  }
  auto value = FetchSecret(row.source);
  if (!value) return std::move(value).error();
  // What the wire cannot carry is refused here, not mangled there.
  if (!json::IsWellFormedUtf8(value->Reveal())) {
    return Error{.kind = ErrorKind::kInvalid,
                 .code = "secret.not_text",
                 .message = "the value of secret \"" + grant.name.text() + "\" is not UTF-8 text"};
  }
  return value;
}

namespace {

// One try to claim: nothing to do, a claim, or a run whose secrets must be fetched first.
struct Attempt {
  std::optional<Claim> claim;
  std::string needs_secrets;  // run id
  std::vector<protocol::SecretGrant> grants;
};

enum class SecretValues { kNotYet, kFetched };
struct ClaimOrder {
  const RunnerIdentity& runner;
  WallTime now;
  std::string only_run;                          // empty: the first of the queue
  SecretValues secrets = SecretValues::kNotYet;  // kFetched: those of only_run are at hand
};

Result<Attempt> TryClaim(const Plane::Impl& plane, store::Database& db, const ClaimOrder& order) {
  Attempt out;
  WRIT_ASSIGN(auto next,
              db.Ask("SELECT run_id, contract, contract_hash, timeout_ms FROM runs WHERE "
                     "status = 'created' AND pool = ?1 AND expires_at > ?2 AND "
                     "(?3 = '' OR run_id = ?3) ORDER BY ord LIMIT 1",
                     order.runner.pool, order.now.unix_ms, order.only_run));
  WRIT_ASSIGN(bool any, next.Next());
  if (!any) return out;
  Claim claim;
  claim.run_id = next.Text(0);
  claim.contract = next.Text(1);
  const std::string contract_hash = next.Text(2);
  const auto timeout = std::chrono::milliseconds(next.Int(3));
  WRIT_ASSIGN(json::Value value, json::Parse(claim.contract));
  WRIT_ASSIGN(auto contract, protocol::Contract::Parse(value));
  if (!contract.secrets.empty() && order.secrets == SecretValues::kNotYet) {
    out.needs_secrets = claim.run_id;
    out.grants = contract.secrets;
    return out;
  }
  WRIT_ASSIGN(int moved, db.Run("UPDATE runs SET status = 'claimed', runner_id = ?, "
                                "updated_at = max(?, updated_at + 1) "
                                "WHERE run_id = ? AND status = 'created'",
                                order.runner.runner_id, order.now.unix_ms, claim.run_id));
  if (moved != 1) return out;
  WRIT_ASSIGN(auto head, ChainHeadOf(db, claim.run_id, contract_hash));
  protocol::EventChain chain(head);
  WRIT_ASSIGN(auto runner_id, protocol::RunnerId::Parse(order.runner.runner_id));
  WRIT_ASSIGN(auto key_id, protocol::KeyId::Parse(order.runner.key_id));
  WRIT_TRY(InsertEvent(db, claim.run_id,
                       chain.Append(order.now, protocol::events::RunClaimed(runner_id, key_id))));
  for (const auto& grant : contract.secrets) {
    WRIT_TRY(InsertEvent(db, claim.run_id,
                         chain.Append(order.now, protocol::events::SecretReleased(grant))));
  }
  // Long enough for the job, and an hour for everything around it.
  const ClaimTokenFacts facts{.run_id = claim.run_id,
                              .runner_id = order.runner.runner_id,
                              .nonce = Base64UrlEncode(RandomBytes(16)),
                              .expires_at = order.now + timeout + std::chrono::hours(1)};
  claim.claim_token = MintClaimToken(facts, plane.keys.plane);
  WRIT_ASSIGN(int noted,
              db.Run("INSERT INTO claim_tokens (nonce, run_id, runner_id, expires_at) "
                     "VALUES (?,?,?,?)",
                     facts.nonce, facts.run_id, facts.runner_id, facts.expires_at.unix_ms));
  (void)noted;
  WRIT_ASSIGN(claim.events, EventTexts(db, claim.run_id));
  out.claim = std::move(claim);
  return out;
}

// The values for a run's grants, checked once more against the policy in force (the contract may be
// older than the policy).
Result<std::vector<ReleasedSecret>> FetchSecrets(Plane::Impl& plane, const std::string& pool,
                                                 const std::vector<protocol::SecretGrant>& grants) {
  WRIT_ASSIGN(auto policy, plane.Policy());
  WRIT_ASSIGN(auto pool_name, protocol::PoolName::Parse(pool));
  std::vector<ReleasedSecret> out;
  for (const auto& grant : grants) {
    const auto* rule = FindReleasable(policy->policy, grant.name, pool_name);
    if (rule == nullptr || rule->scope != grant.scope) {
      return Error{.kind = ErrorKind::kDenied,
                   .code = "secret.not_releasable",
                   .message = "secret \"" + grant.name.text() +
                              "\" is no longer releasable to pool \"" + pool + "\""};
    }
    WRIT_ASSIGN(Secret value, plane.SecretValue(grant));
    out.push_back({grant.name.text(), std::move(value)});
  }
  return out;
}

}  // namespace

Result<std::optional<writ::plane::Claim>> Plane::Claim(std::string_view runner_token,
                                                       std::string_view pool,
                                                       std::chrono::milliseconds wait,
                                                       const std::function<bool()>& abandoned,
                                                       const std::string& only_run) {
  const auto deadline = std::chrono::steady_clock::now() + wait;
  for (;;) {
    const auto seen = impl_->changed.Generation();
    WRIT_ASSIGN(auto runner, impl_->store->Read([&](store::Database& db) {
      return FindRunner(db, runner_token);
    }));
    if (runner.pool != pool) return Unauthorized("runner is not enrolled in the requested pool");
    const WallTime now = impl_->clock.Now();
    // Cheap look first: an idle runner costs no write.
    WRIT_ASSIGN(auto waiting, impl_->store->Read([&](store::Database& db) {
      return db.Number(
          "SELECT 1 FROM runs WHERE status = 'created' AND pool = ? AND expires_at > ? AND "
          "(? = '' OR run_id = ?) LIMIT 1",
          runner.pool, now.unix_ms, only_run, only_run);
    }));
    if (!waiting) {
      if (!impl_->changed.WaitSlice(seen, deadline)) return std::optional<writ::plane::Claim>{};
      continue;
    }
    if (abandoned && abandoned()) return std::optional<writ::plane::Claim>{};
    Attempt attempt;
    std::vector<ReleasedSecret> secrets;
    auto claim_now = [&](const std::string& which, SecretValues values) {
      return impl_->store->Write([&](store::Database& db) -> Status {
        WRIT_ASSIGN(attempt, TryClaim(*impl_, db, {runner, now, which, values}));
        return {};
      });
    };
    WRIT_TRY(claim_now(only_run, SecretValues::kNotYet));
    if (!attempt.needs_secrets.empty()) {
      const std::string run_id = attempt.needs_secrets;
      auto fetched = FetchSecrets(*impl_, runner.pool, attempt.grants);
      if (!fetched) {
        // Fails closed, and says so in the run (L43). Somebody else may have taken or ended it.
        auto ended = impl_->EndUnclaimed(run_id, RunState::kCreated,
                                         protocol::FailureClass::kSecretReleaseDenied,
                                         fetched.error().message);
        if (!ended && ended.error().kind != ErrorKind::kConflict) return std::move(ended).error();
        continue;
      }
      secrets = std::move(*fetched);
      if (abandoned && abandoned()) return std::optional<writ::plane::Claim>{};
      WRIT_TRY(claim_now(run_id, SecretValues::kFetched));
    }
    if (!attempt.claim) continue;
    attempt.claim->secrets = std::move(secrets);
    impl_->changed.Notify();
    log::Info("plane.run_claimed", "a run was claimed",
              {{"run", attempt.claim->run_id}, {"runner", runner.runner_id}});
    return std::move(attempt.claim);
  }
}

Status Plane::Impl::EndUnclaimed(const std::string& run_id, RunState expected,
                                 protocol::FailureClass failure, const std::string& message) {
  const WallTime now = clock.Now();
  WRIT_TRY(store->Write([&](store::Database& db) -> Status {
    WRIT_ASSIGN(auto row, db.Ask("SELECT contract_hash FROM runs WHERE run_id = ? AND status = ?",
                                 run_id, protocol::Word(expected)));
    WRIT_ASSIGN(bool any, row.Next());
    if (!any) return StateConflict(run_id, "has changed meanwhile");
    if (!row.Null(0)) {
      WRIT_ASSIGN(auto head, ChainHeadOf(db, run_id, row.Text(0)));
      protocol::EventChain chain(head);
      WRIT_TRY(InsertEvent(db, run_id,
                           chain.Append(now, protocol::events::RunFailed(failure, message))));
    }
    WRIT_ASSIGN(int moved,
                db.Run("UPDATE runs SET status = 'failed', failure = ?, "
                       "updated_at = max(?, updated_at + 1) WHERE run_id = ? AND status = ?",
                       message, now.unix_ms, run_id, protocol::Word(expected)));
    if (moved != 1) return StateConflict(run_id, "has changed meanwhile");
    return {};
  }));
  changed.Notify();
  log::Warn("plane.run_ended", message, {{"run", run_id}, {"failure", protocol::Word(failure)}});
  return {};
}

}  // namespace writ::plane
