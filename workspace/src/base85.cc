#include "base85.h"

#include <array>

namespace writ::workspace {
namespace {

constexpr std::string_view kAlphabet =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";

constexpr std::array<std::int8_t, 256> MakeReverse() {
  std::array<std::int8_t, 256> reverse{};
  for (auto& entry : reverse) entry = -1;
  for (std::size_t i = 0; i < kAlphabet.size(); ++i)
    reverse[static_cast<unsigned char>(kAlphabet[i])] = static_cast<std::int8_t>(i);
  return reverse;
}
constexpr std::array<std::int8_t, 256> kReverse = MakeReverse();

}  // namespace

void AppendBase85Lines(std::string& out, std::string_view bytes) {
  while (!bytes.empty()) {
    std::string_view line = bytes.substr(0, 52);
    bytes.remove_prefix(line.size());
    auto n = static_cast<char>(line.size());
    out.push_back(n <= 26 ? static_cast<char>('A' + n - 1) : static_cast<char>('a' + n - 27));
    for (std::size_t i = 0; i < line.size(); i += 4) {
      std::uint32_t word = 0;
      for (std::size_t k = 0; k < 4; ++k)
        word = word << 8 | (i + k < line.size() ? static_cast<unsigned char>(line[i + k]) : 0u);
      char digits[5];
      for (int k = 4; k >= 0; --k) {
        digits[k] = kAlphabet[word % 85];
        word /= 85;
      }
      out.append(digits, 5);
    }
    out.push_back('\n');
  }
}

std::optional<std::string> DecodeBase85Lines(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    std::size_t end = text.find('\n');
    if (end == std::string_view::npos || end < 6) return std::nullopt;
    char letter = text.front();
    std::size_t length;
    if (letter >= 'A' && letter <= 'Z') {
      length = static_cast<std::size_t>(letter - 'A') + 1;
    } else if (letter >= 'a' && letter <= 'z') {
      length = static_cast<std::size_t>(letter - 'a') + 27;
    } else {
      return std::nullopt;
    }
    std::string_view digits = text.substr(1, end - 1);
    if (digits.size() != (length + 3) / 4 * 5) return std::nullopt;
    std::size_t left = length;
    for (std::size_t i = 0; i < digits.size(); i += 5) {
      std::uint64_t word = 0;
      for (std::size_t k = 0; k < 5; ++k) {
        int value = kReverse[static_cast<unsigned char>(digits[i + k])];
        if (value < 0) return std::nullopt;
        word = word * 85 + static_cast<std::uint64_t>(value);
      }
      if (word > 0xffffffffu) return std::nullopt;
      for (int k = 3; k >= 0 && left > 0; --k, --left)
        out.push_back(static_cast<char>(word >> (8 * k) & 0xff));
    }
    text.remove_prefix(end + 1);
  }
  return out;
}

}  // namespace writ::workspace
