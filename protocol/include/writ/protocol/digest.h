// Digest: a SHA-256, and the ways to make one.
//
// SHA-256 comes from libcrypto's plain functions (SHA-NI where the processor has it; no provider,
// no configuration file is read). In JSON and in file names a digest is 64 lower-case hex digits.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "writ/base/result.h"
#include "writ/protocol/json.h"

namespace writ::protocol {

class Digest {
 public:
  constexpr Digest() = default;  // all zero: what `file.changed` has for a deleted file
  explicit constexpr Digest(const std::array<std::uint8_t, 32>& bytes) : bytes_(bytes) {}
  // Exactly 64 lower-case hex digits; else kInvalid "digest.malformed".
  static Result<Digest> Parse(std::string_view hex);

  std::string ToHex() const;
  operator json::Value() const {
    return json::Value::FromUtf8(ToHex());
  }  // NOLINT: implicit by design
  const std::array<std::uint8_t, 32>& bytes() const { return bytes_; }
  bool is_zero() const { return *this == Digest(); }
  auto operator<=>(const Digest&) const = default;

 private:
  std::array<std::uint8_t, 32> bytes_{};
};

inline constexpr Digest kZeroDigest{};

Digest Sha256(std::string_view bytes);
// hash(value) of protocol.md: SHA-256 over the canonical bytes.
Digest HashValue(const json::Value& value);
// The same without one top-level member: contract, receipt and plane-signed objects leave
// `signatures` out.
Digest HashWithout(const json::Value& value, std::string_view member);

// For streams. Update any number of times, Finish once (it starts afresh after that).
class Sha256Hasher {
 public:
  Sha256Hasher();
  Sha256Hasher(const Sha256Hasher&) = default;
  Sha256Hasher& operator=(const Sha256Hasher&) = default;
  void Update(std::string_view bytes);
  Digest Finish();

 private:
  alignas(
      8) std::array<std::uint8_t, 128> state_{};  // libcrypto's SHA256_CTX, kept out of this header
};

}  // namespace writ::protocol

template <>
struct std::hash<writ::protocol::Digest> {
  std::size_t operator()(const writ::protocol::Digest& digest) const noexcept {
    std::size_t out = 0;
    for (std::size_t i = 0; i < sizeof(out); ++i) out = out << 8 | digest.bytes()[i];
    return out;
  }
};
