#include <algorithm>
#include <cstdint>

#include "fault/support/fault_world.h"
#include "writ/base/encoding.h"

namespace writ::test {
namespace {

std::string Base32(const std::string& bytes) {
  constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  std::string out;
  std::uint32_t bits = 0;
  int held = 0;
  for (unsigned char byte : bytes) {
    bits = bits << 8 | byte;
    for (held += 8; held >= 5; held -= 5) out += kAlphabet[bits >> (held - 5) & 31];
  }
  return out;  // whole groups only: what follows the value is not known
}

// The part of base64 that is the same whatever stands before and behind, for one alignment.
std::string Base64Core(const std::string& value, std::size_t before) {
  const std::string whole = Base64Encode(std::string(before, 'x') + value);
  const std::size_t from = before == 0 ? 0 : 4;
  const std::size_t to = (before + value.size()) / 3 * 4;
  return whole.substr(from, to - from);
}

std::string Percent(const std::string& value) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (unsigned char c : value) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                       c == '-' || c == '_' || c == '.' || c == '~';
    if (plain) {
      out += static_cast<char>(c);
    } else {
      out += {'%', kHex[c >> 4], kHex[c & 15]};
    }
  }
  return out;
}

std::string Wide(const std::string& value, std::size_t place) {
  std::string out(value.size() * 2, '\0');
  for (std::size_t i = 0; i < value.size(); ++i) out[2 * i + place] = value[i];
  return out;
}

}  // namespace

std::map<std::string, std::string> EncodingsOf(const std::string& value) {
  std::string upper = HexEncode(value), reversed(value.rbegin(), value.rend());
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](char c) { return c >= 'a' && c <= 'f' ? static_cast<char>(c - 32) : c; });
  std::string url = Base64Core(value, 0);
  for (char& c : url) c = c == '+' ? '-' : c == '/' ? '_' : c;
  const std::string quoted = json::Write(json::Value(std::string(value)));
  return {{"plain", value},
          {"base64", Base64Core(value, 0)},
          {"base64, one byte on", Base64Core(value, 1)},
          {"base64, two bytes on", Base64Core(value, 2)},
          {"base64url", url},
          {"base32", Base32(value)},
          {"hex", HexEncode(value)},
          {"HEX", upper},
          {"percent", Percent(value)},
          {"JSON", quoted.substr(1, quoted.size() - 2)},
          {"UTF-16LE", Wide(value, 0)},
          {"UTF-16BE", Wide(value, 1)},
          {"reversed", reversed}};
}

}  // namespace writ::test
