// The key manifest `writ.keys.v1`: which keys a plane signs with, each for its time, signed by the
// organisation's key (protocol.md section 6).
//
// Whoever pins the organisation's key accepts every plane key that the manifest lists: a plane can
// change its key, and what the old one signed still verifies. A key's time is held against the time
// at which a contract was issued; the countersignature of its receipt is by the same key. A
// manifest proves nothing about times: whoever holds a retired private key can date a contract
// back.
#pragma once

#include <optional>
#include <vector>

#include "writ/base/clock.h"
#include "writ/protocol/keys.h"

namespace writ::protocol {

inline constexpr std::string_view kKeyManifestVersion = "writ.keys.v1";

struct PlaneKeyEntry {
  PublicKey key;
  WallTime not_before;
  std::optional<WallTime> not_after;  // absent: in use; from then on it signs no more
};

struct KeyManifest {
  WallTime issued_at;  // who keeps a manifest never takes an older one instead
  std::vector<PlaneKeyEntry> plane_keys;
  std::vector<Signature> signatures;
  json::Value raw;  // as it was read or sealed

  // Strict: unknown members, a key listed twice, no key at all are kInvalid.
  static Result<KeyManifest> Parse(const json::Value& value);
  json::Value BuildUnsigned() const;
  Digest Hash() const;  // over `raw` without `signatures`

  // Whether `key` is listed for the moment `at`.
  bool Holds(const PublicKey& key, WallTime at) const;
  const PlaneKeyEntry* Find(const KeyId& id) const;  // nullptr where it is not listed
};

// Builds, signs and reads back.
Result<KeyManifest> SealKeyManifest(KeyManifest draft, const PrivateKey& org_key);
// kIntegrity "keys.signature" without a valid signature by the organisation's key.
Status CheckKeyManifest(const KeyManifest& manifest, const PublicKey& org_key);

}  // namespace writ::protocol
