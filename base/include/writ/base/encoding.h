// Hex and base64 (RFC 4648), strict when decoding: no white space, exact padding, canonical end
// bits.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace writ {

std::string HexEncode(std::string_view bytes);  // lower case
std::optional<std::string> HexDecode(std::string_view text);

std::string Base64Encode(std::string_view bytes);  // RFC 4648 section 4, padded
std::optional<std::string> Base64Decode(std::string_view text);
std::string Base64UrlEncode(std::string_view bytes);  // RFC 4648 section 5, unpadded
std::optional<std::string> Base64UrlDecode(std::string_view text);

// Compares in time that depends on the lengths only (L11).
bool ConstantTimeEqual(std::string_view a, std::string_view b);

// Cryptographically strong bytes from getrandom(2). Aborts where the kernel cannot give any.
std::string RandomBytes(std::size_t count);
// A random UUID (RFC 4122 version 4), lower case.
std::string RandomUuid();

}  // namespace writ
