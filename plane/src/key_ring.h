// KeyRing: the keys of a plane's directory, read once at Open. Never changes afterwards.
//
// After a rotation the plane keys of before stay in it, public and private: what they signed is
// read with them, and a contract that one of them issued is closed by the same one, so that a
// bundle has one plane key.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "writ/base/result.h"
#include "writ/base/secret.h"
#include "writ/protocol/key_manifest.h"
#include "writ/protocol/keys.h"

namespace writ::plane {

struct KeyRing {
  protocol::PrivateKey plane;
  protocol::PublicKey plane_public;
  std::string plane_public_pem;
  std::string plane_key_id;
  protocol::PublicKey org_public;
  std::string org_public_pem;
  Secret seal;                                    // 32 bytes: seals the secrets store
  Secret tokens;                                  // 32 bytes: runner tokens are derived from it
  std::optional<protocol::KeyManifest> manifest;  // as it was at Open, checked under the org key
  std::vector<protocol::PrivateKey> retired;      // plane keys of before that are still here

  // nullptr where the private key is not here any more.
  const protocol::PrivateKey* PrivateOf(const protocol::KeyId& id) const;
  // kNotFound "plane.key_unknown" for one that is neither in use nor in the manifest.
  Result<protocol::PublicKey> PublicOf(const protocol::KeyId& id) const;

  // kNotFound "plane.not_initialized"; kDenied "plane.key_mode" where a key can be read by others;
  // kIntegrity "plane.key_mismatch" where two halves do not belong together.
  // "plane.key_manifest" where the manifest is not one that the org key signed.
  static Result<KeyRing> Load(int dir);
};

// Names below keys/.
inline constexpr const char* kKeyManifestFile = "manifest.json";
std::string RetiredKeyFile(const protocol::KeyId& id);  // "plane-0123456789abcdef.pem"

// The manifest file; nullopt where there is none. `keys` is the folder keys/.
Result<std::optional<protocol::KeyManifest>> ReadKeyManifest(int keys,
                                                             const protocol::PublicKey& org);

}  // namespace writ::plane
