#include "writ/protocol/keys.h"

#include <sodium.h>

#include <cstdlib>
#include <cstring>

#include "writ/base/encoding.h"

namespace writ::protocol {
namespace {

constexpr std::string_view kPublicHead = "-----BEGIN PUBLIC KEY-----\n";
constexpr std::string_view kPublicTail = "\n-----END PUBLIC KEY-----";
constexpr std::string_view kPrivateHead = "-----BEGIN PRIVATE KEY-----\n";
constexpr std::string_view kPrivateTail = "\n-----END PRIVATE KEY-----";
// RFC 8410: SubjectPublicKeyInfo and PKCS#8 of Ed25519 are these bytes and then the 32 of the key.
constexpr std::string_view kSpkiPrefix("\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00", 12);
constexpr std::string_view kPkcs8Prefix(
    "\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20", 16);

void InitSodium() {
  static const int ready = sodium_init();  // idempotent and thread-safe
  if (ready < 0) std::abort();
}

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

// The DER bytes between the armour lines, given that they are `prefix` and 32 bytes; else empty.
std::string KeyBytes(std::string_view pem, std::string_view head, std::string_view tail,
                     std::string_view prefix) {
  pem = Trim(pem);
  if (!pem.starts_with(head) || !pem.ends_with(tail) || pem.size() < head.size() + tail.size())
    return {};
  std::optional<std::string> der =
      Base64Decode(pem.substr(head.size(), pem.size() - head.size() - tail.size()));
  if (!der) return {};
  std::string key;
  if (der->size() == prefix.size() + 32 && der->starts_with(prefix))
    key = der->substr(prefix.size());
  explicit_bzero(der->data(), der->size());
  return key;
}

Error Malformed(std::string_view what, std::string_view form) {
  return Error{.kind = ErrorKind::kInvalid,
               .code = "key.malformed",
               .message = "not an Ed25519 " + std::string(what) + " key in PEM",
               .hint = "expected " + std::string(form) + " with one base64 line"};
}

}  // namespace

Result<PublicKey> PublicKey::FromPem(std::string_view pem) {
  const std::string bytes = KeyBytes(pem, kPublicHead, kPublicTail, kSpkiPrefix);
  if (bytes.empty()) return Malformed("public", "-----BEGIN PUBLIC KEY----- (SPKI)");
  std::array<std::uint8_t, 32> key{};
  std::memcpy(key.data(), bytes.data(), key.size());
  return PublicKey(key);
}

PublicKey PublicKey::FromBytes(const std::array<std::uint8_t, 32>& bytes) {
  return PublicKey(bytes);
}

std::string PublicKey::ToPem() const {
  std::string der(kSpkiPrefix);
  der.append(reinterpret_cast<const char*>(bytes_.data()), bytes_.size());
  return std::string(kPublicHead) + Base64Encode(der) + std::string(kPublicTail) + "\n";
}

KeyId PublicKey::Id() const {
  const std::string pem = ToPem();
  return KeyId::Parse("ed25519:" + Sha256(Trim(pem)).ToHex().substr(0, 16)).value();
}

Result<PrivateKey> PrivateKey::FromPem(std::string_view pem) {
  std::string seed = KeyBytes(pem, kPrivateHead, kPrivateTail, kPkcs8Prefix);
  if (seed.empty()) return Malformed("private", "-----BEGIN PRIVATE KEY----- (PKCS#8)");
  return PrivateKey(Secret::Consume(seed));
}

PrivateKey PrivateKey::Generate() {
  std::string seed = RandomBytes(32);
  return PrivateKey(Secret::Consume(seed));
}

Secret PrivateKey::ToPem() const {
  std::string der(kPkcs8Prefix);
  der.append(seed_.Reveal());
  std::string body = Base64Encode(der);
  std::string pem = std::string(kPrivateHead) + body + std::string(kPrivateTail) + "\n";
  explicit_bzero(der.data(), der.size());
  explicit_bzero(body.data(), body.size());
  return Secret::Consume(pem);
}

PublicKey PrivateKey::Public() const {
  InitSodium();
  std::array<std::uint8_t, 32> key{};
  std::array<std::uint8_t, 64> secret{};
  crypto_sign_seed_keypair(key.data(), secret.data(),
                           reinterpret_cast<const unsigned char*>(seed_.Reveal().data()));
  sodium_memzero(secret.data(), secret.size());
  return PublicKey::FromBytes(key);
}

std::string Sign(const PrivateKey& key, std::string_view message) {
  InitSodium();
  std::array<std::uint8_t, 32> public_key{};
  std::array<std::uint8_t, 64> secret{};
  crypto_sign_seed_keypair(public_key.data(), secret.data(),
                           reinterpret_cast<const unsigned char*>(key.seed_.Reveal().data()));
  std::string signature(64, '\0');
  crypto_sign_detached(reinterpret_cast<unsigned char*>(signature.data()), nullptr,
                       reinterpret_cast<const unsigned char*>(message.data()), message.size(),
                       secret.data());
  sodium_memzero(secret.data(), secret.size());
  return signature;
}

bool Verify(const PublicKey& key, std::string_view message, std::string_view signature) {
  InitSodium();
  return signature.size() == 64 &&
         crypto_sign_verify_detached(reinterpret_cast<const unsigned char*>(signature.data()),
                                     reinterpret_cast<const unsigned char*>(message.data()),
                                     message.size(), key.bytes().data()) == 0;
}

json::Value Signature::ToJson() const {
  return json::Object{
      {"keyId", key_id}, {"alg", "ed25519"}, {"signer", Word(signer)}, {"sig", sig}};
}

Signature SignDigest(const PrivateKey& key, Signer signer, const Digest& hash) {
  return Signature{
      .key_id = key.Public().Id(), .signer = signer, .sig = Base64Encode(Sign(key, hash.ToHex()))};
}

bool VerifyDigest(const PublicKey& key, const Digest& hash, const Signature& signature) {
  if (signature.key_id != key.Id()) return false;
  const std::optional<std::string> bytes = Base64Decode(signature.sig);
  return bytes && Verify(key, hash.ToHex(), *bytes);
}

const Signature* FindValidSignature(const std::vector<Signature>& signatures, Signer signer,
                                    const PublicKey& key, const Digest& hash) {
  for (const Signature& signature : signatures)
    if (signature.signer == signer && VerifyDigest(key, hash, signature)) return &signature;
  return nullptr;
}

std::vector<Signature> ReadSignatures(json::ObjectReader& reader) {
  std::vector<Signature> out;
  reader.ForEachObject(
      "signatures",
      [&](json::ObjectReader& item) {
        Signature signature;
        signature.key_id = item.As<KeyId>("keyId");
        item.Literal("alg", "ed25519");
        signature.signer = item.Enum("signer", kSignerTable);
        signature.sig = item.String("sig", {.max_bytes = 256});
        out.push_back(std::move(signature));
      },
      16);
  return out;
}

json::Value SignaturesToJson(const std::vector<Signature>& signatures) {
  json::Array out;
  for (const Signature& signature : signatures) out.push_back(signature.ToJson());
  return out;
}

}  // namespace writ::protocol
