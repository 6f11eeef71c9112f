// Administration: principals, enrol tokens, secrets. Each act is an entry of the admin chain.
#include <algorithm>

#include "plane_impl.h"
#include "sealing.h"
#include "secret_source.h"
#include "writ/base/encoding.h"
#include "writ/protocol/secret_rules.h"

namespace writ::plane {
namespace {

constexpr std::int64_t kMaxEnrollTokenSeconds = 30 * 86400;

Error NeedsAdmin() {
  return Forbidden("role admin is needed");
}

Error Bad(std::string code, std::string message) {
  return Error{.kind = ErrorKind::kInvalid, .code = std::move(code), .message = std::move(message)};
}

bool IsPrincipalName(std::string_view name) {
  if (name.empty() || name.size() > 128) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-' || c == '@' || c == ':';
  });
}

std::string RolesJson(const std::vector<Role>& roles) {
  json::Array words;
  for (Role role : roles) words.emplace_back(RoleName(role));
  return json::Write(json::Value(std::move(words)));
}

std::vector<Role> RolesOf(const std::string& text) {
  std::vector<Role> out;
  auto words = json::Parse(text);
  if (!words || !words->is_array()) return out;
  for (const auto& word : words->array()) {
    if (auto role = ParseRole(word.string())) out.push_back(*role);
  }
  return out;
}

bool IsScope(std::string_view scope) {
  if (scope.empty() || scope.size() > 256) return false;
  return std::all_of(scope.begin(), scope.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

Status CheckSecretName(const std::string& name, const std::string& scope) {
  if (!protocol::SecretRule::Accepts(name)) {
    return Bad("secret.name",
               "a secret's name must be " + std::string(protocol::SecretRule::kWords));
  }
  WRIT_TRY(protocol::CheckSecretVariable(name));
  if (!IsScope(scope)) {
    return Bad("secret.scope",
               "a scope must be 1 to 256 visible ASCII characters, e.g. pool:default");
  }
  return {};
}

struct SecretRow {
  const std::string& name;
  const std::string& scope;
  const SecretSource& source;
  std::optional<std::string> sealed;
};

Status StoreSecret(Plane::Impl& plane, const Caller& caller, const SecretRow& row) {
  return plane.store->Write([&](store::Database& db) -> Status {
    std::optional<store::BlobValue> sealed;
    if (row.sealed) sealed = store::BlobValue{*row.sealed};
    const std::string source = json::Write(SourceToJson(row.source));
    WRIT_TRY(
        db.Do("INSERT INTO secrets (name, scope, source, sealed, updated_at) "
              "VALUES (?,?,?,?,?) ON CONFLICT (name, scope) DO UPDATE SET "
              "source = excluded.source, sealed = excluded.sealed, "
              "updated_at = excluded.updated_at",
              row.name, row.scope, source, sealed, plane.clock.Now().unix_ms));
    return plane.Admin(db, "admin.secret.set", caller,
                       {{"name", row.name},
                        {"scope", row.scope},
                        {"source", SourceToJson(row.source).FindString("kind").value_or("")}});
  });
}

}  // namespace

Result<Caller> Plane::Authenticate(std::string_view token) const {
  if (token.empty()) return Unauthorized("unauthorized");
  const std::string hash = TokenHash(token);
  return impl_->store->Read([&](store::Database& db) -> Result<Caller> {
    WRIT_ASSIGN(auto row, db.Ask("SELECT name, roles, token_hash FROM principals WHERE "
                                 "token_hash = ? AND revoked_at IS NULL",
                                 hash));
    WRIT_ASSIGN(bool any, row.Next());
    if (!any || !ConstantTimeEqual(row.Text(2), hash)) return Unauthorized("unauthorized");
    return Caller{row.Text(0), RolesOf(row.Text(1))};
  });
}

Result<IssuedToken> Plane::CreateEnrollToken(const Caller& caller, std::chrono::seconds lifetime,
                                             std::optional<std::string> pool) {
  if (!caller.Has(Role::kAdmin)) return NeedsAdmin();
  if (lifetime.count() < 1 || lifetime.count() > kMaxEnrollTokenSeconds) {
    return Bad("enroll.lifetime", "an enroll token lives between a second and 30 days");
  }
  if (pool && !protocol::PoolRule::Accepts(*pool)) {
    return Bad("enroll.pool", "pool must be " + std::string(protocol::PoolRule::kWords));
  }
  const WallTime now = impl_->clock.Now();
  IssuedToken out{.token = NewToken(), .expires_at = now + lifetime};
  WRIT_TRY(impl_->store->Write([&](store::Database& db) -> Status {
    WRIT_TRY(
        db.Do("INSERT INTO enroll_tokens (token_hash, pool, created_at, expires_at) "
              "VALUES (?,?,?,?)",
              TokenHash(out.token), pool, now.unix_ms, out.expires_at.unix_ms));
    json::Object fields{{"expiresAt", FormatRfc3339(out.expires_at)}};
    fields.SetOptional("pool", pool);
    return impl_->Admin(db, "admin.enroll_token.created", caller, std::move(fields));
  }));
  return out;
}

Result<IssuedPrincipal> Plane::CreatePrincipal(const Caller& caller, const std::string& name,
                                               const std::vector<Role>& roles) {
  if (!caller.Has(Role::kAdmin)) return NeedsAdmin();
  if (!IsPrincipalName(name)) {
    return Bad("principal.name", "a principal's name must be [A-Za-z0-9._@:-]{1,128}");
  }
  if (roles.empty()) return Bad("principal.roles", "a principal needs at least one role");
  const WallTime now = impl_->clock.Now();
  IssuedPrincipal out{{.name = name, .roles = roles, .created_at = now, .revoked = false},
                      NewToken()};
  WRIT_TRY(impl_->store->Write([&](store::Database& db) -> Status {
    WRIT_ASSIGN(int added, db.Run("INSERT INTO principals (name, roles, token_hash, created_at) "
                                  "VALUES (?,?,?,?) ON CONFLICT (name) DO NOTHING",
                                  name, RolesJson(roles), TokenHash(out.token), now.unix_ms));
    if (added != 1) {
      return Error{.kind = ErrorKind::kConflict,
                   .code = "principal.exists",
                   .message = "there is a principal \"" + name + "\" already"};
    }
    json::Array words;
    for (Role role : roles) words.emplace_back(RoleName(role));
    return impl_->Admin(db, "admin.principal.created", caller, {{"name", name}, {"roles", words}});
  }));
  return out;
}

Status Plane::RevokePrincipal(const Caller& caller, const std::string& name) {
  if (!caller.Has(Role::kAdmin)) return NeedsAdmin();
  return impl_->store->Write([&](store::Database& db) -> Status {
    WRIT_ASSIGN(int changed, db.Run("UPDATE principals SET revoked_at = ? WHERE name = ? AND "
                                    "revoked_at IS NULL",
                                    impl_->clock.Now().unix_ms, name));
    if (changed != 1) {
      return Error{.kind = ErrorKind::kNotFound,
                   .code = "principal.not_found",
                   .message = "there is no such principal that is not revoked already"};
    }
    return impl_->Admin(db, "admin.principal.revoked", caller, {{"name", name}});
  });
}

Result<std::vector<PrincipalInfo>> Plane::Principals() const {
  return impl_->store->Read([](store::Database& db) -> Result<std::vector<PrincipalInfo>> {
    WRIT_ASSIGN(auto rows, db.Ask("SELECT name, roles, created_at, revoked_at FROM principals "
                                  "ORDER BY created_at, name"));
    std::vector<PrincipalInfo> out;
    for (;;) {
      WRIT_ASSIGN(bool row, rows.Next());
      if (!row) return out;
      out.push_back({.name = rows.Text(0),
                     .roles = RolesOf(rows.Text(1)),
                     .created_at = WallTime{rows.Int(2)},
                     .revoked = !rows.Null(3)});
    }
  });
}

Status Plane::SetSecret(const Caller& caller, const std::string& name, const std::string& scope,
                        const Secret& value) {
  if (!caller.Has(Role::kAdmin)) return NeedsAdmin();
  WRIT_TRY(CheckSecretName(name, scope));
  if (value.empty()) return Bad("secret.empty", "the secret's value is empty");
  WRIT_TRY(protocol::CheckSecretValue(name, value.Reveal()));
  const SecretSource source;
  return StoreSecret(*impl_, caller,
                     {name, scope, source, Seal(impl_->keys.seal, name, scope, value)});
}

Status Plane::SetSecretSource(const Caller& caller, const std::string& name,
                              const std::string& scope, const SecretSource& source) {
  if (!caller.Has(Role::kAdmin)) return NeedsAdmin();
  WRIT_TRY(CheckSecretName(name, scope));
  if (source.kind == SecretSource::Kind::kSealed) {
    return Bad("secret.source", "a sealed secret is set with its value");
  }
  WRIT_TRY(CheckSource(source));
  return StoreSecret(*impl_, caller, {name, scope, source, std::nullopt});
}

Result<std::vector<SecretInfo>> Plane::Secrets() const {
  return impl_->store->Read([](store::Database& db) -> Result<std::vector<SecretInfo>> {
    WRIT_ASSIGN(auto rows, db.Ask("SELECT name, scope, source, updated_at FROM secrets "
                                  "ORDER BY name, scope"));
    std::vector<SecretInfo> out;
    for (;;) {
      WRIT_ASSIGN(bool row, rows.Next());
      if (!row) return out;
      WRIT_ASSIGN(auto source, ParseSource(rows.Text(2)));
      out.push_back({rows.Text(0), rows.Text(1), std::move(source), WallTime{rows.Int(3)}});
    }
  });
}

Status Plane::RemoveSecret(const Caller& caller, const std::string& name,
                           const std::string& scope) {
  if (!caller.Has(Role::kAdmin)) return NeedsAdmin();
  return impl_->store->Write([&](store::Database& db) -> Status {
    WRIT_ASSIGN(int gone, db.Run("DELETE FROM secrets WHERE name = ? AND scope = ?", name, scope));
    if (gone != 1) {
      return Error{.kind = ErrorKind::kNotFound,
                   .code = "secret.not_found",
                   .message = "there is no secret \"" + name + "\" in scope \"" + scope + "\"",
                   .hint = "`writ secrets list` has the names and scopes; --scope names another"};
    }
    return impl_->Admin(db, "admin.secret.removed", caller, {{"name", name}, {"scope", scope}});
  });
}

}  // namespace writ::plane
