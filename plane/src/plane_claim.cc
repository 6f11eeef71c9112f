// Claims: the next contract of a pool, once, with its secrets.
#include <map>

#include "claim_access.h"
#include "matching.h"
#include "sealing.h"
#include "secret_source.h"
#include "waiting.h"
#include "writ/base/encoding.h"
#include "writ/base/log.h"
#include "writ/protocol/secret_rules.h"

namespace writ::plane {

Result<RunnerIdentity> FindRunner(store::Database& db, std::string_view runner_token) {
  const std::string hash = TokenHash(runner_token);
  WRIT_ASSIGN(auto row,
              db.Ask("SELECT r.runner_id, r.pool, r.key_id, r.public_key, t.token_hash, "
                     "r.revoked_at IS NOT NULL, t.revoked_at IS NOT NULL, "
                     "r.rotate_asked_at IS NOT NULL, "
                     "t.replaces IS NOT NULL AND t.used_at IS NULL "
                     "FROM runner_tokens t JOIN runners r USING (runner_id) "
                     "WHERE t.token_hash = ? AND NOT EXISTS (SELECT 1 FROM runner_tokens n "
                     "WHERE n.replaces = t.token_hash AND n.used_at IS NOT NULL)",
                     hash));
  WRIT_ASSIGN(bool any, row.Next());
  if (!any || !ConstantTimeEqual(row.Text(4), hash)) return Unauthorized("invalid runner token");
  if (row.Int(5) != 0) return RunnerRevoked();
  if (row.Int(6) != 0) return Unauthorized("invalid runner token");
  return RunnerIdentity{.runner_id = row.Text(0),
                        .pool = row.Text(1),
                        .key_id = row.Text(2),
                        .public_key = row.Text(3),
                        .rotate_asked = row.Int(7) != 0,
                        .first_use = row.Int(8) != 0};
}

Result<RunnerIdentity> FindRunnerById(store::Database& db, const std::string& runner_id) {
  WRIT_ASSIGN(auto row, db.Ask("SELECT runner_id, pool, key_id, public_key, rotate_asked_at IS NOT "
                               "NULL FROM runners WHERE runner_id = ?",
                               runner_id));
  WRIT_ASSIGN(bool any, row.Next());
  if (!any) return Unauthorized("invalid claim token");
  return RunnerIdentity{.runner_id = row.Text(0),
                        .pool = row.Text(1),
                        .key_id = row.Text(2),
                        .public_key = row.Text(3),
                        .rotate_asked = row.Int(4) != 0};
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
                   .message = "this plane holds no value for secret \"" + grant.name.text() + "\"",
                   .hint = "set it on the plane with `writ secrets set " + grant.name.text() + "`"};
    }
    WRIT_ASSIGN(SecretSource source, ParseSource(found.Text(0)));
    return Row{std::move(source), found.Text(1)};
  }));
  Result<Secret> value = row.source.kind == SecretSource::Kind::kSealed
                             ? Unseal(keys.seal, grant.name.text(), grant.scope, row.sealed)
                             : FetchSecret(row.source);
  if (!value) {
    Error error = std::move(value).error();
    error.message = "secret \"" + grant.name.text() + "\": " + error.message;
    return error;
  }
  // What no job can be given is refused here, not mangled on the wire or by the runner later.
  WRIT_TRY(protocol::CheckSecretVariable(grant.name.text()));
  WRIT_TRY(protocol::CheckSecretValue(grant.name.text(), value->Reveal()));
  return value;
}

Result<std::optional<QueuedRun>> NextInQueue(store::Database& db, const QueueLook& look) {
  WRIT_ASSIGN(auto next,
              db.Ask("SELECT run_id, contract, contract_hash, timeout_ms, wants FROM runs r WHERE "
                     "status = 'created' AND pool = ?1 AND expires_at > ?2 AND "
                     "(?3 = '' OR run_id = ?3) AND "
                     "(offered_until IS NULL OR offered_until <= ?2) AND NOT EXISTS "
                     "(SELECT 1 FROM declined_offers d WHERE d.run_id = r.run_id AND "
                     "d.runner_id = ?4 AND d.until > ?2) ORDER BY ord",
                     look.runner.pool, look.now.unix_ms, look.only_run, look.runner.runner_id));
  // Who asks for a run by its name refuses it by itself, with a receipt.
  const bool any_will_do = look.can == nullptr || !look.only_run.empty();
  std::map<std::string, bool> judged;  // like runs have like wants
  for (;;) {
    WRIT_ASSIGN(bool any, next.Next());
    if (!any) return std::optional<QueuedRun>{};
    if (!any_will_do && !next.Null(4)) {
      auto [at, fresh] = judged.try_emplace(next.Text(4), true);
      if (fresh) {
        WRIT_ASSIGN(RunWants wants, RunWants::FromText(at->first));
        at->second = !WhyNot(wants, *look.can);
      }
      if (!at->second) continue;
    }
    return std::optional(QueuedRun{.run_id = next.Text(0),
                                   .contract = next.Text(1),
                                   .contract_hash = next.Text(2),
                                   .timeout = std::chrono::milliseconds(next.Int(3))});
  }
}

Status WriteClaimEvents(store::Database& db, const QueuedRun& run, const RunnerIdentity& runner,
                        const std::vector<protocol::SecretGrant>& grants, WallTime now) {
  WRIT_ASSIGN(auto head, ChainHeadOf(db, run.run_id, run.contract_hash));
  protocol::EventChain chain(head);
  WRIT_ASSIGN(auto runner_id, protocol::RunnerId::Parse(runner.runner_id));
  WRIT_ASSIGN(auto key_id, protocol::KeyId::Parse(runner.key_id));
  WRIT_TRY(InsertEvent(db, run.run_id,
                       chain.Append(now, protocol::events::RunClaimed(runner_id, key_id))));
  for (const auto& grant : grants) {
    WRIT_TRY(
        InsertEvent(db, run.run_id, chain.Append(now, protocol::events::SecretReleased(grant))));
  }
  return {};
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
  std::string only_run;                          // empty: the first of the queue that fits
  SecretValues secrets = SecretValues::kNotYet;  // kFetched: those of only_run are at hand
  const protocol::RunnerCapabilities* can = nullptr;
};

Result<Attempt> TryClaim(const Plane::Impl& plane, store::Database& db, const ClaimOrder& order) {
  Attempt out;
  WRIT_ASSIGN(auto next, NextInQueue(db, {order.runner, order.now, order.only_run, order.can}));
  if (!next) return out;
  WRIT_ASSIGN(json::Value value, json::Parse(next->contract));
  WRIT_ASSIGN(auto contract, protocol::Contract::Parse(value));
  if (!contract.secrets.empty() && order.secrets == SecretValues::kNotYet) {
    out.needs_secrets = next->run_id;
    out.grants = contract.secrets;
    return out;
  }
  WRIT_ASSIGN(int moved,
              db.Run("UPDATE runs SET status = 'claimed', runner_id = ?, runner_key = ?, "
                     "seen_at = ?, offered_to = NULL, offer_nonce = NULL, offered_until = NULL, "
                     "updated_at = max(?, updated_at + 1) "
                     "WHERE run_id = ? AND status = 'created'",
                     order.runner.runner_id, order.runner.public_key, order.now.unix_ms,
                     order.now.unix_ms, next->run_id));
  if (moved != 1) return out;
  WRIT_TRY(WriteClaimEvents(db, *next, order.runner, contract.secrets, order.now));
  Claim claim{.run_id = next->run_id,
              .contract = next->contract,
              .claim_token = {},
              .events = {},
              .secrets = {}};
  WRIT_ASSIGN(claim.claim_token, IssueClaimToken(plane, db, next->run_id, order.runner.runner_id,
                                                 order.now + ClaimTokenLife(next->timeout)));
  WRIT_ASSIGN(claim.events, EventTexts(db, claim.run_id));
  out.claim = std::move(claim);
  return out;
}

}  // namespace

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

Result<std::optional<writ::plane::Claim>> Plane::Claim(std::string_view runner_token,
                                                       std::string_view pool,
                                                       std::chrono::milliseconds wait,
                                                       const std::function<bool()>& abandoned,
                                                       const std::string& only_run,
                                                       const protocol::RunnerCapabilities* can) {
  const auto deadline = std::chrono::steady_clock::now() + wait;
  for (bool first = true;; first = false) {
    WRIT_ASSIGN(auto runner, AuthenticateRunner(*impl_, runner_token));
    if (runner.pool != pool) return Unauthorized("runner is not enrolled in the requested pool");
    if (first && only_run.empty()) WRIT_TRY(NoteHeard(*impl_, runner, can));
    const ChangeSignal& queue = impl_->queue->Of(runner.pool);
    const auto seen = queue.Generation();
    const WallTime now = impl_->clock.Now();
    // Cheap look first: it costs no write.
    WRIT_ASSIGN(auto waiting, impl_->store->Read([&](store::Database& db) {
      return NextInQueue(db, {runner, now, only_run, can});
    }));
    if (!waiting) {
      if (!queue.WaitSlice(seen, deadline)) return std::optional<writ::plane::Claim>{};
      continue;
    }
    if (abandoned && abandoned()) return std::optional<writ::plane::Claim>{};
    Attempt attempt;
    std::vector<ReleasedSecret> secrets;
    auto claim_now = [&](const std::string& which, SecretValues values) {
      return impl_->store->Write([&](store::Database& db) -> Status {
        WRIT_ASSIGN(attempt, TryClaim(*impl_, db, {runner, now, which, values, can}));
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
    WRIT_ASSIGN(json::Value value, json::Parse(attempt.claim->contract));
    WRIT_ASSIGN(auto contract, protocol::Contract::Parse(value));
    impl_->NoteClaimed(contract, "claimed");
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
  metrics->Add(Family::kRunsEnded, {{"status", "failed"}, {"by", "plane"}});
  log::Warn("plane.run_ended", message, {{"run", run_id}, {"failure", protocol::Word(failure)}});
  return {};
}

}  // namespace writ::plane
