// Runners: enrolment, list, revocation.
#include "plane_impl.h"
#include "writ/base/encoding.h"
#include "writ/base/fault.h"
#include "writ/base/log.h"

namespace writ::plane {
namespace {

Error InvalidEnrollToken() {
  return Error{
      .kind = ErrorKind::kInvalid, .code = "enroll.token", .message = "invalid enroll token"};
}

Error BadField(const char* name, const std::string& sentence) {
  return Error{.kind = ErrorKind::kInvalid,
               .code = "enroll.invalid",
               .message = "invalid request: " + std::string(name) + ": " + sentence};
}

// What an enrol token is good for; nullopt: nothing.
enum class EnrollRight { kOneTime, kEnroller };

struct EnrollCheck {
  std::string token_hash;
  std::string public_key;  // PEM
  std::string pool;
  WallTime now;
};

// A one-time token may be used again by the key that used it, so that a lost answer can be had
// again.
Result<EnrollRight> CheckEnrollToken(store::Database& db, const EnrollCheck& check) {
  WRIT_ASSIGN(auto row,
              db.Ask("SELECT pool, expires_at, used_by_key, token_hash FROM enroll_tokens "
                     "WHERE token_hash = ?",
                     check.token_hash));
  WRIT_ASSIGN(bool one_time, row.Next());
  if (one_time) {
    if (!ConstantTimeEqual(row.Text(3), check.token_hash)) return InvalidEnrollToken();
    if (row.Int(1) <= check.now.unix_ms) return InvalidEnrollToken();
    if (!row.Null(2) && row.Text(2) != check.public_key) return InvalidEnrollToken();
    if (!row.Null(0) && row.Text(0) != check.pool) {
      return BadField("pool", "this enroll token is for another pool");
    }
    return EnrollRight::kOneTime;
  }
  WRIT_ASSIGN(auto principal, db.Ask("SELECT roles FROM principals WHERE token_hash = ? AND "
                                     "revoked_at IS NULL",
                                     check.token_hash));
  WRIT_ASSIGN(bool known, principal.Next());
  if (!known || principal.Text(0).find("\"enroller\"") == std::string::npos) {
    return InvalidEnrollToken();
  }
  return EnrollRight::kEnroller;
}

}  // namespace

Result<Enrolment> Plane::Enroll(std::string_view enroll_token, std::string_view public_key_pem,
                                std::string_view pool) {
  EnrollCheck check{.token_hash = TokenHash(enroll_token),
                    .public_key = std::string(public_key_pem),
                    .pool = std::string(pool),
                    .now = impl_->clock.Now()};
  auto key = protocol::PublicKey::FromPem(public_key_pem);
  if (key) check.public_key = key->ToPem();
  // The token is looked at first: who has none learns nothing about what a key should look like.
  auto right = impl_->store->Read([&](store::Database& db) { return CheckEnrollToken(db, check); });
  if (!right) return std::move(right).error();
  if (!key) return BadField("publicKeyPem", "must be an Ed25519 public key as PEM");
  if (!protocol::PoolRule::Accepts(pool)) {
    return BadField("pool", "must be " + std::string(protocol::PoolRule::kWords));
  }
  Enrolment out;
  bool fresh = false;
  WRIT_TRY(impl_->store->Write([&](store::Database& db) -> Status {
    WRIT_ASSIGN(EnrollRight now_right, CheckEnrollToken(db, check));
    WRIT_ASSIGN(
        auto known,
        db.Ask("SELECT runner_id, revoked_at FROM runners WHERE public_key = ? AND pool = ?",
               check.public_key, check.pool));
    WRIT_ASSIGN(bool have, known.Next());
    if (have && !known.Null(1)) return Forbidden("this runner has been revoked");
    WRIT_ASSIGN(auto retired, db.Number("SELECT 1 FROM retired_runner_keys WHERE public_key = ?",
                                        check.public_key));
    if (retired) return Forbidden("this key was rotated out and is no runner's any more");
    out.runner_id = have ? known.Text(0) : "rnr_" + RandomUuid();
    fresh = !have;
    if (!have) {
      WRIT_TRY(
          db.Do("INSERT INTO runners (runner_id, pool, key_id, public_key, "
                "enrolled_at) VALUES (?,?,?,?,?)",
                out.runner_id, check.pool, key->Id().text(), check.public_key, check.now.unix_ms));
    }
    out.runner_token = DeriveRunnerToken(impl_->keys.tokens, out.runner_id, check.token_hash);
    WRIT_ASSIGN(int kept, db.Run("INSERT OR IGNORE INTO runner_tokens (token_hash, runner_id, "
                                 "issued_at) VALUES (?,?,?)",
                                 TokenHash(out.runner_token), out.runner_id, check.now.unix_ms));
    if (now_right == EnrollRight::kOneTime) {
      WRIT_ASSIGN(int used,
                  db.Run("UPDATE enroll_tokens SET used_by_key = ?, used_at = "
                         "coalesce(used_at, ?) WHERE token_hash = ? AND "
                         "(used_by_key IS NULL OR used_by_key = ?)",
                         check.public_key, check.now.unix_ms, check.token_hash, check.public_key));
      if (used != 1) return InvalidEnrollToken();
    }
    if (kept == 0) return {};
    return impl_->Admin(db, "admin.runner.enrolled", Caller{out.runner_id, {}},
                        {{"runnerId", out.runner_id}, {"keyId", key->Id()}, {"pool", check.pool}});
  }));
  log::Info("plane.runner_enrolled", fresh ? "a runner was enrolled" : "a runner enrolled again",
            {{"runner", out.runner_id}, {"pool", check.pool}});
  return out;
}

Result<std::vector<RunnerInfo>> Plane::Runners() const {
  return impl_->store->Read([](store::Database& db) -> Result<std::vector<RunnerInfo>> {
    WRIT_ASSIGN(auto rows,
                db.Ask("SELECT runner_id, pool, key_id, public_key, enrolled_at, revoked_at, "
                       "heard_at, capabilities FROM runners ORDER BY enrolled_at, rowid"));
    std::vector<RunnerInfo> out;
    for (;;) {
      WRIT_ASSIGN(bool row, rows.Next());
      if (!row) break;
      out.push_back({.runner_id = rows.Text(0),
                     .pool = rows.Text(1),
                     .key_id = rows.Text(2),
                     .public_key_pem = rows.Text(3),
                     .enrolled_at = WallTime{rows.Int(4)},
                     .revoked = !rows.Null(5),
                     .retired_keys = {},
                     .heard_at = std::nullopt,
                     .capabilities = rows.Text(7)});
      if (auto heard = rows.OptionalInt(6)) out.back().heard_at = WallTime{*heard};
    }
    for (RunnerInfo& runner : out) {
      WRIT_ASSIGN(auto keys, db.Ask("SELECT key_id, public_key FROM retired_runner_keys WHERE "
                                    "runner_id = ? ORDER BY retired_at",
                                    runner.runner_id));
      for (;;) {
        WRIT_ASSIGN(bool row, keys.Next());
        if (!row) break;
        runner.retired_keys.push_back({keys.Text(0), keys.Text(1)});
      }
    }
    return out;
  });
}

Status Plane::RevokeRunner(const Caller& caller, const std::string& runner_id) {
  if (!caller.Has(Role::kAdmin)) return Forbidden("role admin is needed");
  const WallTime now = impl_->clock.Now();
  WRIT_TRY(impl_->store->Write([&](store::Database& db) -> Status {
    WRIT_ASSIGN(int runner, db.Run("UPDATE runners SET revoked_at = ? WHERE runner_id = ? AND "
                                   "revoked_at IS NULL",
                                   now.unix_ms, runner_id));
    if (runner != 1) {
      return Error{.kind = ErrorKind::kNotFound,
                   .code = "runner.not_found",
                   .message = "there is no such runner that is not revoked already"};
    }
    WRIT_TRY(
        db.Do("UPDATE runner_tokens SET revoked_at = ? WHERE runner_id = ? AND "
              "revoked_at IS NULL",
              now.unix_ms, runner_id));
    WRIT_TRY(
        db.Do("UPDATE runs SET offered_to = NULL, offer_nonce = NULL, "
              "offered_until = NULL WHERE offered_to = ? AND "
              "status = 'created'",
              runner_id));
    return impl_->Admin(db, "admin.runner.revoked", caller, {{"runnerId", runner_id}});
  }));
  WRIT_FAULT_TRY("plane.revoked.committed");
  impl_->changed.Notify();
  impl_->queue->NotifyAll();
  // Nothing more is taken from it, so nothing more is waited for.
  if (auto closed = impl_->CloseLostRuns(); !closed) {
    log::Error("plane.close_lost", closed.error().ToString(), {{"runner", runner_id}});
  }
  return {};
}

}  // namespace writ::plane
