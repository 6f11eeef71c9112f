// The plain SHA-256 functions of libcrypto: deprecated in favour of a provider layer that reads
// configuration files and costs more than the hash of a small event.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "writ/protocol/digest.h"

#include <openssl/sha.h>

#include <cstring>

#include "writ/base/encoding.h"
#include "writ/protocol/canonical.h"

namespace writ::protocol {
namespace {

// The value of each hex digit, 0xFF for any other byte: a table, because digests are random and a
// processor would guess every second branch wrong.
constexpr std::array<std::uint8_t, 256> kHexValue = [] {
  std::array<std::uint8_t, 256> table{};
  table.fill(0xFF);
  for (unsigned char c = '0'; c <= '9'; ++c) table[c] = static_cast<std::uint8_t>(c - '0');
  for (unsigned char c = 'a'; c <= 'f'; ++c) table[c] = static_cast<std::uint8_t>(c - 'a' + 10);
  return table;
}();

}  // namespace

Result<Digest> Digest::Parse(std::string_view hex) {
  std::array<std::uint8_t, 32> bytes{};
  bool good = hex.size() == 64;
  if (good) {
    std::uint8_t seen = 0;
    for (std::size_t i = 0; i < 32; ++i) {
      const std::uint8_t high = kHexValue[static_cast<unsigned char>(hex[2 * i])];
      const std::uint8_t low = kHexValue[static_cast<unsigned char>(hex[2 * i + 1])];
      seen |= high | low;
      bytes[i] = static_cast<std::uint8_t>(high << 4 | low);
    }
    good = (seen & 0xF0) == 0;
  }
  if (!good)
    return Error{.kind = ErrorKind::kInvalid,
                 .code = "digest.malformed",
                 .message = "must be 64 lower-case hex digits"};
  return Digest(bytes);
}

std::string Digest::ToHex() const {
  return HexEncode({reinterpret_cast<const char*>(bytes_.data()), bytes_.size()});
}

Digest Sha256(std::string_view bytes) {
  Sha256Hasher hasher;
  hasher.Update(bytes);
  return hasher.Finish();
}

Digest HashValue(const json::Value& value) {
  return Sha256(json::CanonicalBytes(value));
}

Digest HashWithout(const json::Value& value, std::string_view member) {
  return Sha256(json::CanonicalBytesWithout(value, member));
}

Sha256Hasher::Sha256Hasher() {
  static_assert(sizeof(SHA256_CTX) <= sizeof(state_));
  SHA256_Init(reinterpret_cast<SHA256_CTX*>(state_.data()));
}

void Sha256Hasher::Update(std::string_view bytes) {
  SHA256_Update(reinterpret_cast<SHA256_CTX*>(state_.data()), bytes.data(), bytes.size());
}

Digest Sha256Hasher::Finish() {
  std::array<std::uint8_t, 32> out{};
  SHA256_Final(out.data(), reinterpret_cast<SHA256_CTX*>(state_.data()));
  SHA256_Init(reinterpret_cast<SHA256_CTX*>(state_.data()));
  return Digest(out);
}

}  // namespace writ::protocol
