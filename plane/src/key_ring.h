// KeyRing: the keys of a plane's directory, read once at Open. Never changes afterwards.
#pragma once

#include <string>

#include "writ/base/result.h"
#include "writ/base/secret.h"
#include "writ/protocol/keys.h"

namespace writ::plane {

struct KeyRing {
  protocol::PrivateKey plane;
  protocol::PublicKey plane_public;
  std::string plane_public_pem;
  std::string plane_key_id;
  protocol::PublicKey org_public;
  std::string org_public_pem;
  Secret seal;    // 32 bytes: seals the secrets store
  Secret tokens;  // 32 bytes: runner tokens are derived from it

  // kNotFound "plane.not_initialized"; kDenied "plane.key_mode" where a key can be read by others;
  // kIntegrity "plane.key_mismatch" where two halves do not belong together.
  static Result<KeyRing> Load(int dir);
};

}  // namespace writ::plane
