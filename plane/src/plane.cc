#include "writ/plane/plane.h"

#include <fcntl.h>

#include "plane_impl.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/plane/plane_keys.h"
#include "writ/protocol/digest.h"

namespace writ::plane {

Plane::Plane(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Plane::~Plane() = default;

Result<std::unique_ptr<Plane>> Plane::Open(PlaneOptions options, const Clock& clock) {
  auto root = OpenDirectory(options.dir);
  if (!root) {
    return Error{.kind = ErrorKind::kNotFound,
                 .code = "plane.not_initialized",
                 .message = "there is no plane directory at " + options.dir,
                 .hint = "run writ init",
                 .sys_errno = root.error().sys_errno};
  }
  WRIT_ASSIGN(KeyRing keys, KeyRing::Load(root->get()));
  if (!keys.manifest) {
    WRIT_TRY(EnsureKeyManifest(options.dir, clock));
    WRIT_ASSIGN(keys, KeyRing::Load(root->get()));
  }
  if (!options.config) {
    WRIT_ASSIGN(UniqueFd file, OpenBeneath(root->get(), "config.json", O_RDONLY));
    WRIT_ASSIGN(std::string text, ReadAll(file.get(), 1u << 20));
    WRIT_ASSIGN(options.config, ParseConfig(text));
  }
  WRIT_ASSIGN(UniqueFd state, MakeDirectoriesBeneath(root->get(), "plane", 0700));
  WRIT_ASSIGN(auto store, store::OpenStore(options.dir + "/plane/state.db"));
  WRIT_ASSIGN(auto blobs, BlobStore::Open(state.get(), options.config->max_blob_bytes));
  WRIT_ASSIGN(auto parts, BlobParts::Open(state.get(), options.config->max_blob_bytes));
  WRIT_ASSIGN(auto logs, LiveLogs::Open(state.get(), options.config->max_log_bytes));
  auto impl = std::unique_ptr<Impl>(new Impl{.dir = options.dir,
                                             .clock = clock,
                                             .config = *options.config,
                                             .keys = std::move(keys),
                                             .policy_keeper = PolicyKeeper(std::move(*root)),
                                             .store = std::move(store),
                                             .blobs = std::move(blobs),
                                             .parts = std::move(parts),
                                             .logs = std::move(logs),
                                             .changed = {},
                                             .queue = std::make_unique<QueueSignals>(),
                                             .key_ends_ms = INT64_MAX,
                                             .metrics = std::make_unique<PlaneMetrics>()});
  auto plane = std::unique_ptr<Plane>(new Plane(std::move(impl)));
  WRIT_TRY(plane->impl_->RecordKey());
  WRIT_TRY(plane->impl_->RecordConfig());
  if (options.at_open == AtOpen::kSweep) WRIT_TRY(plane->Sweep());
  return plane;
}

const std::string& Plane::public_key_pem() const {
  return impl_->keys.plane_public_pem;
}
const std::string& Plane::key_id() const {
  return impl_->keys.plane_key_id;
}
const std::string& Plane::org_public_key_pem() const {
  return impl_->keys.org_public_pem;
}
Result<std::string> Plane::KeyManifest() const {
  return KeyManifestText(impl_->dir);
}

Result<std::string> Plane::PublicKeyPemOf(const std::string& key_id) const {
  WRIT_ASSIGN(auto id, protocol::KeyId::Parse(key_id));
  WRIT_ASSIGN(auto key, impl_->keys.PublicOf(id));
  return key.ToPem();
}

void Plane::Impl::NoteKeyTime() {
  auto text = KeyManifestText(dir);
  auto value = text ? json::Parse(*text) : Result<json::Value>(text.error());
  if (!value) return;  // without a manifest a key has no end
  auto manifest = protocol::KeyManifest::Parse(*value);
  if (!manifest) return;
  const auto* entry = manifest->Find(keys.plane_public.Id());
  key_ends_ms = entry != nullptr && entry->not_after ? entry->not_after->unix_ms : INT64_MAX;
}

Status Plane::Impl::CheckKeyInUse() const {
  if (clock.Now().unix_ms < key_ends_ms) return {};
  return Error{.kind = ErrorKind::kUnavailable,
               .code = "plane.key_retired",
               .message = "the plane's key was rotated and the time of the old one is over",
               .hint = "restart the plane"};
}

Status Plane::Impl::RecordKey() {
  WRIT_ASSIGN(auto known, store->Read([](store::Database& db) {
    return db.Value("SELECT value FROM meta WHERE name = 'plane_key_id'");
  }));
  if (known == keys.plane_key_id) return {};
  return store->Write([&](store::Database& db) -> Status {
    WRIT_ASSIGN(auto before, db.Value("SELECT value FROM meta WHERE name = 'plane_key_id'"));
    if (before == keys.plane_key_id) return {};
    WRIT_TRY(
        db.Do("INSERT OR IGNORE INTO meta (name, value) VALUES "
              "('genesis_key_id', ?)",
              before.value_or(keys.plane_key_id)));
    WRIT_TRY(
        db.Do("INSERT INTO meta (name, value) VALUES ('plane_key_id', ?) "
              "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
              keys.plane_key_id));
    if (!before) return {};
    return AppendAdminEntry(db, keys.plane_key_id, clock.Now(), "admin.plane_key.changed",
                            "plane key rotation",
                            {{"oldKeyId", *before}, {"keyId", keys.plane_key_id}});
  });
}

Status Plane::Impl::RecordConfig() {
  // What holds, whatever the spelling of its file.
  auto hash_of = [](const Config& c) { return protocol::Sha256(ConfigJson(c)).ToHex(); };
  const std::string hash = hash_of(config);
  constexpr const char* kKnown = "SELECT value FROM meta WHERE name = 'config_hash'";
  WRIT_ASSIGN(auto known, store->Read([&](store::Database& db) { return db.Value(kKnown); }));
  const std::string untouched = hash_of(Config{});
  if (known.value_or(untouched) == hash) return {};
  WRIT_ASSIGN(const json::Value document, json::Parse(ConfigJson(config)));
  auto word = [&](std::string_view name) {
    const json::Value* plane = document.Find("plane");
    return std::string(plane != nullptr ? plane->FindString(name).value_or("") : "");
  };
  return store->Write([&](store::Database& db) -> Status {
    WRIT_ASSIGN(auto before, db.Value(kKnown));
    if (before.value_or(untouched) == hash) return {};
    WRIT_TRY(
        db.Do("INSERT INTO meta (name, value) VALUES ('config_hash', ?) "
              "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
              hash));
    return AppendAdminEntry(db, keys.plane_key_id, clock.Now(), "admin.config.changed",
                            "configuration at open",
                            {{"configHash", hash},
                             {"previousConfigHash", before.value_or(untouched)},
                             {"blobReads", word("blobReads")},
                             {"openNetwork", word("openNetwork")}});
  });
}

const Config& Plane::config() const {
  return impl_->config;
}
void Plane::Interrupt() {
  impl_->changed.Interrupt();
  impl_->queue->Interrupt();
}

Result<std::shared_ptr<const LoadedPolicy>> Plane::Impl::Policy() {
  WRIT_ASSIGN(auto policy, policy_keeper.Current());
  WRIT_ASSIGN(auto recorded, store->Read([](store::Database& db) {
    return db.Value("SELECT value FROM meta WHERE name = 'policy_hash'");
  }));
  if (recorded != policy->hash) WRIT_TRY(RecordPolicy(*policy, "policy file"));
  return policy;
}

Status Plane::Impl::RecordPolicy(const LoadedPolicy& policy, std::string_view actor) {
  return store->Write([&](store::Database& db) -> Status {
    WRIT_ASSIGN(auto previous, db.Value("SELECT value FROM meta WHERE name = 'policy_hash'"));
    if (previous == policy.hash) return {};
    WRIT_TRY(
        db.Do("INSERT INTO policies (policy_hash, body, seen_at) VALUES (?,?,?) "
              "ON CONFLICT (policy_hash) DO UPDATE SET seen_at = excluded.seen_at",
              policy.hash, policy.text, clock.Now().unix_ms));
    WRIT_TRY(
        db.Do("INSERT INTO meta (name, value) VALUES ('policy_hash', ?) "
              "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
              policy.hash));
    json::Object fields{{"policyHash", policy.hash}};
    fields.SetOptional("previousPolicyHash", previous);
    return AppendAdminEntry(db, keys.plane_key_id, clock.Now(), "admin.policy.changed", actor,
                            std::move(fields));
  });
}

Result<Plane::PolicyDocument> Plane::Policy() const {
  WRIT_ASSIGN(auto policy, impl_->Policy());
  return PolicyDocument{policy->text, policy->hash};
}

Status Plane::SetPolicy(const Caller& caller, std::string_view bytes) {
  if (!caller.Has(Role::kAdmin)) return Forbidden("role admin is needed");
  WRIT_ASSIGN(auto policy, impl_->policy_keeper.Replace(bytes));
  return impl_->RecordPolicy(*policy, caller.name);
}

Status Plane::Ready() const {
  impl_->NoteKeyTime();
  WRIT_TRY(impl_->CheckKeyInUse());
  WRIT_ASSIGN([[maybe_unused]] auto policy, impl_->policy_keeper.Current());
  WRIT_TRY(impl_->store->Write([&](store::Database& db) -> Status {
    WRIT_TRY(
        db.Do("INSERT INTO meta (name, value) VALUES ('ready_at', ?) "
              "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
              FormatRfc3339(impl_->clock.Now())));
    return {};
  }));
  const std::string probe = "writ.ready.v1";
  if (!protocol::Verify(impl_->keys.plane_public, probe,
                        protocol::Sign(impl_->keys.plane, probe))) {
    return Error{.kind = ErrorKind::kUnavailable,
                 .code = "plane.key_unusable",
                 .message = "the signing key does not sign"};
  }
  return {};
}

Error RunNotFound() {
  return Error{.kind = ErrorKind::kNotFound, .code = "run.not_found", .message = "run not found"};
}

Error StateConflict(const std::string& run_id, const std::string& what) {
  return Error{
      .kind = ErrorKind::kConflict, .code = "run.state", .message = "run " + run_id + " " + what};
}

json::Value ActorJson(const Actor& actor) {
  return actor.ToJson();
}

Result<Actor> ParseActor(std::string_view text) {
  WRIT_ASSIGN(json::Value value, json::Parse(text));
  json::Issues issues;
  Actor actor = Actor::Read(json::ObjectReader(issues, value));
  WRIT_TRY(issues.ToStatus("an actor"));
  return actor;
}

}  // namespace writ::plane
