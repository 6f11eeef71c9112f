#include "tokens.h"

#include <sodium.h>

#include "writ/base/encoding.h"
#include "writ/protocol/json.h"
#include "writ/protocol/reader.h"

namespace writ::plane {
namespace {

constexpr std::size_t kTokenBytes = 32;
constexpr std::size_t kMaxTokenText = 4096;

Error Malformed() {
  return Error{
      .kind = ErrorKind::kInvalid, .code = "claim.malformed", .message = "malformed claim token"};
}

}  // namespace

std::string NewToken() {
  return Base64UrlEncode(RandomBytes(kTokenBytes));
}

std::string TokenHash(std::string_view token) {
  protocol::Sha256Hasher hasher;
  hasher.Update("writ.token.v1\n");
  hasher.Update(token);
  return hasher.Finish().ToHex();
}

std::string DeriveRunnerToken(const Secret& key, std::string_view runner_id,
                              std::string_view enroll_token_hash) {
  std::string text =
      "writ.runner-token.v1\n" + std::string(runner_id) + "\n" + std::string(enroll_token_hash);
  unsigned char mac[crypto_auth_hmacsha256_BYTES];
  crypto_auth_hmacsha256_state state;
  crypto_auth_hmacsha256_init(&state, reinterpret_cast<const unsigned char*>(key.Reveal().data()),
                              key.size());
  crypto_auth_hmacsha256_update(&state, reinterpret_cast<const unsigned char*>(text.data()),
                                text.size());
  crypto_auth_hmacsha256_final(&state, mac);
  return Base64UrlEncode(std::string_view(reinterpret_cast<const char*>(mac), sizeof mac));
}

std::string MintClaimToken(const ClaimTokenFacts& facts, const protocol::PrivateKey& plane_key) {
  json::Object payload{{"runId", facts.run_id},
                       {"runnerId", facts.runner_id},
                       {"nonce", facts.nonce},
                       {"exp", FormatRfc3339(facts.expires_at)}};
  std::string text = Base64UrlEncode(json::Write(payload));
  return text + "." + Base64UrlEncode(protocol::Sign(plane_key, "writ.claim.v1\n" + text));
}

Result<ClaimTokenFacts> ParseClaimToken(std::string_view token,
                                        const protocol::PublicKey& plane_key) {
  if (token.size() > kMaxTokenText) return Malformed();
  std::size_t dot = token.find('.');
  if (dot == std::string_view::npos) return Malformed();
  std::string_view text = token.substr(0, dot);
  auto payload = Base64UrlDecode(text);
  auto signature = Base64UrlDecode(token.substr(dot + 1));
  if (!payload || !signature) return Malformed();
  if (signature->size() != 64 ||
      !protocol::Verify(plane_key, "writ.claim.v1\n" + std::string(text), *signature)) {
    return Unauthorized("invalid claim token");
  }
  auto value = json::Parse(*payload, {.max_depth = 2, .max_bytes = kMaxTokenText});
  if (!value) return Malformed();
  json::Issues issues;
  json::ObjectReader reader(issues, *value);
  ClaimTokenFacts facts;
  facts.run_id = reader.String("runId");
  facts.runner_id = reader.String("runnerId");
  facts.nonce = reader.String("nonce");
  facts.expires_at = reader.Time("exp");
  if (!issues.empty()) return Malformed();
  return facts;
}

Error Unauthorized(std::string message) {
  return Error{.kind = ErrorKind::kDenied, .code = "unauthorized", .message = std::move(message)};
}

Error Forbidden(std::string message) {
  return Error{.kind = ErrorKind::kDenied, .code = "forbidden", .message = std::move(message)};
}

}  // namespace writ::plane
