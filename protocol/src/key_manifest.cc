#include "writ/protocol/key_manifest.h"

#include "writ/protocol/reader.h"

namespace writ::protocol {
namespace {

constexpr std::size_t kMostKeys = 1000;

}  // namespace

Result<KeyManifest> KeyManifest::Parse(const json::Value& value) {
  json::Issues issues;
  json::ObjectReader reader(issues, value);
  KeyManifest out;
  reader.Literal("version", kKeyManifestVersion);
  out.issued_at = reader.Time("issuedAt");
  reader.ForEachObject(
      "planeKeys",
      [&](json::ObjectReader& item) {
        auto key = PublicKey::FromPem(item.String("publicKeyPem", {.max_bytes = 4096}));
        const KeyId id = item.As<KeyId>("keyId");
        const WallTime from = item.Time("notBefore");
        std::optional<WallTime> until;
        if (item.Has("notAfter")) until = item.Time("notAfter");
        item.RefuseUnknown();
        if (!key) {
          issues.Add("key.malformed", item.PointerOf("publicKeyPem"),
                     "must be an Ed25519 public key as PEM");
          return;
        }
        if (key->Id() != id)
          issues.Add("keys.id", item.PointerOf("keyId"), "is not the id of this key");
        if (out.Find(id) != nullptr)
          issues.Add("keys.twice", item.PointerOf("keyId"), "is listed twice");
        if (until && *until < from)
          issues.Add("keys.time", item.PointerOf("notAfter"), "is before notBefore");
        out.plane_keys.push_back({*key, from, until});
      },
      kMostKeys);
  out.signatures = ReadSignatures(reader);
  reader.RefuseUnknown();
  if (issues.empty() && out.plane_keys.empty())
    issues.Add("keys.none", reader.PointerOf("planeKeys"), "must list a key");
  WRIT_TRY(issues.ToStatus("the key manifest"));
  out.raw = value;
  return out;
}

json::Value KeyManifest::BuildUnsigned() const {
  json::Array keys;
  for (const PlaneKeyEntry& entry : plane_keys) {
    json::Object item{{"keyId", entry.key.Id()},
                      {"publicKeyPem", entry.key.ToPem()},
                      {"notBefore", FormatRfc3339(entry.not_before)}};
    if (entry.not_after) item.Set("notAfter", FormatRfc3339(*entry.not_after));
    keys.push_back(std::move(item));
  }
  return json::Object{{"version", kKeyManifestVersion},
                      {"issuedAt", FormatRfc3339(issued_at)},
                      {"planeKeys", std::move(keys)}};
}

Digest KeyManifest::Hash() const {
  return HashWithout(raw.is_object() ? raw : BuildUnsigned(), "signatures");
}

bool KeyManifest::Holds(const PublicKey& key, WallTime at) const {
  for (const PlaneKeyEntry& entry : plane_keys) {
    if (entry.key == key)
      return at >= entry.not_before && (!entry.not_after || at < *entry.not_after);
  }
  return false;
}

const PlaneKeyEntry* KeyManifest::Find(const KeyId& id) const {
  for (const PlaneKeyEntry& entry : plane_keys)
    if (entry.key.Id() == id) return &entry;
  return nullptr;
}

Result<KeyManifest> SealKeyManifest(KeyManifest draft, const PrivateKey& org_key) {
  json::Value value = draft.BuildUnsigned();
  value.object().Set("signatures",
                     SignaturesToJson({SignDigest(org_key, Signer::kOrg, HashValue(value))}));
  return KeyManifest::Parse(value);
}

Status CheckKeyManifest(const KeyManifest& manifest, const PublicKey& org_key) {
  if (FindValidSignature(manifest.signatures, Signer::kOrg, org_key, manifest.Hash()) != nullptr)
    return {};
  return Error{.kind = ErrorKind::kIntegrity,
               .code = "keys.signature",
               .message = "the key manifest has no valid signature by the organisation's key",
               .hint =
                   "give the manifest of the organisation whose key --org-key is (`writ plane "
                   "keys`); one that was changed is good for nothing"};
}

}  // namespace writ::protocol
