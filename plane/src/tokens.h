// Tokens: how they are made, hashed and checked (L11). Pure but for the kernel's random bytes.
//
// A claim token is base64url(payload) "." base64url(signature of that text by the plane key); the
// payload is {runId, runnerId, nonce, exp}. All other tokens are 32 random (or derived) bytes in
// base64url, and only their hashes are stored.
#pragma once

#include <string>
#include <string_view>

#include "writ/base/clock.h"
#include "writ/base/result.h"
#include "writ/base/secret.h"
#include "writ/protocol/keys.h"

namespace writ::plane {

std::string NewToken();
// Hex SHA-256 over a domain word and the token: what is stored.
std::string TokenHash(std::string_view token);

// The same runner with the same enrol token always gets the same runner token, so that a lost
// answer can be asked for again though nobody stored it: HMAC-SHA-256 under the directory's token
// key.
std::string DeriveRunnerToken(const Secret& key, std::string_view runner_id,
                              std::string_view enroll_token_hash);

struct ClaimTokenFacts {
  std::string run_id;
  std::string runner_id;
  std::string nonce;
  WallTime expires_at;
};
std::string MintClaimToken(const ClaimTokenFacts& facts, const protocol::PrivateKey& plane_key);
// Form and signature; whether it has expired or was used is the caller's question. kInvalid
// "claim.malformed", kDenied "unauthorized".
Result<ClaimTokenFacts> ParseClaimToken(std::string_view token,
                                        const protocol::PublicKey& plane_key);

Error Unauthorized(std::string message);
Error Forbidden(std::string message);

}  // namespace writ::plane
