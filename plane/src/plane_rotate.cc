// Another key for a runner: asked for by an administrator, done by the runner when it has no open
// run. The old key proves the new one; the old token ends with the first use of the new one (L11).
#include "claim_access.h"
#include "writ/base/encoding.h"
#include "writ/base/fault.h"
#include "writ/base/log.h"

namespace writ::plane {
namespace {

Error NoSuchRunner() {
  return Error{.kind = ErrorKind::kNotFound,
               .code = "runner.not_found",
               .message = "there is no such runner that is not revoked already"};
}

// Derived, so that a lost answer can be asked for again though nobody stored it.
std::string TokenFor(const Plane::Impl& plane, const std::string& runner_id,
                     const protocol::KeyId& key) {
  return DeriveRunnerToken(plane.keys.tokens, runner_id, "rotate " + key.text());
}

Status CheckProof(const protocol::PublicKey& old_key, const protocol::KeyId& new_key,
                  std::string_view proof) {
  auto signature = Base64Decode(proof);
  const std::string message = "writ-rotate:" + new_key.text();
  if (signature && signature->size() == 64 && protocol::Verify(old_key, message, *signature))
    return {};
  return Error{.kind = ErrorKind::kDenied,
               .code = "rotation.proof",
               .message = "the proof is not the old key's signature over the new key's id"};
}

}  // namespace

Status Plane::AskRotation(const Caller& caller, const std::string& runner_id) {
  if (!caller.Has(Role::kAdmin)) return Forbidden("role admin is needed");
  WRIT_TRY(impl_->store->Write([&](store::Database& db) -> Status {
    WRIT_ASSIGN(int asked, db.Run("UPDATE runners SET rotate_asked_at = coalesce(rotate_asked_at, "
                                  "?) WHERE runner_id = ? AND revoked_at IS NULL",
                                  impl_->clock.Now().unix_ms, runner_id));
    if (asked != 1) return NoSuchRunner();
    return impl_->Admin(db, "admin.runner.rotation_asked", caller, {{"runnerId", runner_id}});
  }));
  impl_->changed.Notify();
  impl_->queue->NotifyAll();
  return {};
}

Result<std::string> Plane::Rotate(const RotationCall& call) {
  WRIT_ASSIGN(auto runner, AuthenticateRunner(*impl_, call.runner_token));
  auto key = protocol::PublicKey::FromPem(call.public_key_pem);
  if (!key) {
    return Error{.kind = ErrorKind::kInvalid,
                 .code = "rotation.key",
                 .message = "invalid request: publicKeyPem: must be an Ed25519 public key as PEM"};
  }
  const std::string pem = key->ToPem();
  std::string token = TokenFor(*impl_, runner.runner_id, key->Id());
  WRIT_TRY(impl_->store->Write([&](store::Database& db) -> Status {
    WRIT_TRY(CheckRunnerNotRevoked(db, runner.runner_id));
    WRIT_ASSIGN(auto now_known, FindRunnerById(db, runner.runner_id));
    if (now_known.public_key == pem) {
      // The same call again after a lost answer: proven by the key of before.
      WRIT_ASSIGN(auto before, db.Value("SELECT public_key FROM retired_runner_keys WHERE "
                                        "runner_id = ? ORDER BY retired_at DESC LIMIT 1",
                                        runner.runner_id));
      if (!before) {
        return Error{.kind = ErrorKind::kConflict,
                     .code = "rotation.same_key",
                     .message = "this is the runner's key already"};
      }
      WRIT_ASSIGN(auto old_key, protocol::PublicKey::FromPem(*before));
      return CheckProof(old_key, key->Id(), call.proof);
    }
    WRIT_ASSIGN(auto old_key, protocol::PublicKey::FromPem(now_known.public_key));
    WRIT_TRY(CheckProof(old_key, key->Id(), call.proof));
    if (!now_known.rotate_asked) {
      return Error{.kind = ErrorKind::kConflict,
                   .code = "rotation.not_asked",
                   .message = "nobody has asked this runner to rotate its key"};
    }
    WRIT_ASSIGN(auto open, db.Number("SELECT 1 FROM runs WHERE runner_id = ? AND status IN "
                                     "('claimed','provisioning','running') LIMIT 1",
                                     runner.runner_id));
    if (open) {
      return Error{.kind = ErrorKind::kConflict,
                   .code = "rotation.open_run",
                   .message = "the runner has an open run, whose receipt needs the old key"};
    }
    WRIT_ASSIGN(auto taken, db.Number("SELECT 1 FROM runners WHERE public_key = ?1 UNION ALL "
                                      "SELECT 1 FROM retired_runner_keys WHERE public_key = ?1",
                                      pem));
    if (taken) {
      return Error{.kind = ErrorKind::kConflict,
                   .code = "rotation.key_known",
                   .message = "this key is or was another runner's, or this one's before"};
    }
    const std::int64_t now = impl_->clock.Now().unix_ms;
    WRIT_TRY(
        db.Do("INSERT INTO retired_runner_keys (public_key, runner_id, "
              "key_id, retired_at) VALUES (?,?,?,?)",
              now_known.public_key, runner.runner_id, now_known.key_id, now));
    WRIT_ASSIGN(int changed,
                db.Run("UPDATE runners SET public_key = ?, key_id = ?, rotate_asked_at = NULL "
                       "WHERE runner_id = ? AND public_key = ?",
                       pem, key->Id().text(), runner.runner_id, now_known.public_key));
    if (changed != 1) return NoSuchRunner();
    // An offer under the old key is nobody's any more.
    WRIT_TRY(
        db.Do("UPDATE runs SET offered_to = NULL, offer_nonce = NULL, "
              "offered_until = NULL WHERE offered_to = ? AND "
              "status = 'created'",
              runner.runner_id));
    WRIT_TRY(
        db.Do("INSERT INTO runner_tokens (token_hash, runner_id, issued_at, "
              "replaces) VALUES (?,?,?,?)",
              TokenHash(token), runner.runner_id, now, TokenHash(call.runner_token)));
    return impl_->Admin(
        db, "admin.runner.rotated", Caller{.name = runner.runner_id, .roles = {}},
        {{"runnerId", runner.runner_id}, {"oldKeyId", now_known.key_id}, {"keyId", key->Id()}});
  }));
  WRIT_FAULT_TRY("plane.rotated.committed");
  impl_->changed.Notify();
  impl_->queue->NotifyAll();
  log::Info("plane.runner_rotated", "a runner has another key", {{"runner", runner.runner_id}});
  return token;
}

}  // namespace writ::plane
