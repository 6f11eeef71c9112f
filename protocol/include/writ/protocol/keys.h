// Ed25519 keys as PEM, and signatures over hashes (protocol.md section 1).
//
// Verification follows libsodium: S must be below the group order, the public key and R must be
// canonical and not of small order, and the equation is checked without cofactor. What that means
// for the known edge cases is a table in README.md, held by
// Speccheck.AcceptsExactlyTheDocumentedCases.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/base/result.h"
#include "writ/base/secret.h"
#include "writ/protocol/digest.h"
#include "writ/protocol/names.h"
#include "writ/protocol/words.h"

namespace writ::protocol {

class PublicKey {
 public:
  // SPKI PEM in exactly the usual form (one base64 line, LF ends); only white space around it is
  // trimmed, so each key has one text and one key id. kInvalid "key.malformed".
  static Result<PublicKey> FromPem(std::string_view pem);
  static PublicKey FromBytes(const std::array<std::uint8_t, 32>& bytes);

  std::string ToPem() const;  // with a final newline
  KeyId Id() const;           // "ed25519:" and 16 hex digits of SHA-256 over the trimmed PEM text
  const std::array<std::uint8_t, 32>& bytes() const { return bytes_; }
  bool operator==(const PublicKey&) const = default;

 private:
  explicit PublicKey(const std::array<std::uint8_t, 32>& bytes) : bytes_(bytes) {}
  std::array<std::uint8_t, 32> bytes_;
};

// Move-only, wiped when it goes (L8).
class PrivateKey {
 public:
  static Result<PrivateKey> FromPem(std::string_view pem);  // PKCS#8, exactly the usual form
  static PrivateKey Generate();                             // from the kernel's random bytes

  Secret ToPem() const;
  PublicKey Public() const;
  PrivateKey Clone() const { return PrivateKey(seed_.Clone()); }

 private:
  friend std::string Sign(const PrivateKey& key, std::string_view message);
  explicit PrivateKey(Secret seed) : seed_(std::move(seed)) {}
  Secret seed_;  // 32 bytes
};

// The 64 raw bytes of the signature.
std::string Sign(const PrivateKey& key, std::string_view message);
bool Verify(const PublicKey& key, std::string_view message, std::string_view signature);

// One element of `signatures`.
struct Signature {
  KeyId key_id;
  Signer signer = Signer::kPlane;
  std::string sig;  // base64 of the 64 bytes, as on the wire
  json::Value ToJson() const;
};

// Signs the hex text of an object's hash.
Signature SignDigest(const PrivateKey& key, Signer signer, const Digest& hash);
// True where `signature` is by `key` over `hash` and names that key's id.
bool VerifyDigest(const PublicKey& key, const Digest& hash, const Signature& signature);
// The first signature by `signer` that verifies under `key`; nullptr where there is none.
const Signature* FindValidSignature(const std::vector<Signature>& signatures, Signer signer,
                                    const PublicKey& key, const Digest& hash);

// `signatures` of an object; strict: unknown signers and algorithms are issues.
std::vector<Signature> ReadSignatures(json::ObjectReader& reader);
json::Value SignaturesToJson(const std::vector<Signature>& signatures);

}  // namespace writ::protocol
