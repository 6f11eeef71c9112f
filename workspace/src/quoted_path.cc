#include "writ/workspace/quoted_path.h"

#include <cstdint>

namespace writ::workspace {
namespace {

// The letter after the backslash, or 0 where git writes three octal digits or the byte itself.
char EscapeLetter(unsigned char c) {
  switch (c) {
    case '\a':
      return 'a';
    case '\b':
      return 'b';
    case '\t':
      return 't';
    case '\n':
      return 'n';
    case '\v':
      return 'v';
    case '\f':
      return 'f';
    case '\r':
      return 'r';
    case '"':
      return '"';
    case '\\':
      return '\\';
    default:
      return 0;
  }
}

bool MustEscape(unsigned char c) {
  return c < 0x20 || c >= 0x7f || c == '"' || c == '\\';
}

}  // namespace

bool NeedsQuoting(std::string_view path) {
  for (unsigned char c : path)
    if (MustEscape(c)) return true;
  return false;
}

std::string QuotePath(std::string_view path) {
  if (!NeedsQuoting(path)) return std::string(path);
  std::string out = "\"";
  for (unsigned char c : path) {
    if (!MustEscape(c)) {
      out.push_back(static_cast<char>(c));
      continue;
    }
    out.push_back('\\');
    if (char letter = EscapeLetter(c)) {
      out.push_back(letter);
    } else {
      out.push_back(static_cast<char>('0' + (c >> 6)));
      out.push_back(static_cast<char>('0' + (c >> 3 & 7)));
      out.push_back(static_cast<char>('0' + (c & 7)));
    }
  }
  out.push_back('"');
  return out;
}

std::optional<std::string> UnquotePath(std::string_view text, std::size_t& consumed) {
  if (text.empty() || text.front() != '"') return std::nullopt;
  std::string out;
  std::size_t i = 1;
  while (i < text.size()) {
    char c = text[i++];
    if (c == '"') {
      consumed = i;
      return out;
    }
    if (c == '\0' || c == '\n') return std::nullopt;
    if (c != '\\') {
      out.push_back(c);
      continue;
    }
    if (i >= text.size()) return std::nullopt;
    char e = text[i++];
    switch (e) {
      case 'a':
        out.push_back('\a');
        break;
      case 'b':
        out.push_back('\b');
        break;
      case 't':
        out.push_back('\t');
        break;
      case 'n':
        out.push_back('\n');
        break;
      case 'v':
        out.push_back('\v');
        break;
      case 'f':
        out.push_back('\f');
        break;
      case 'r':
        out.push_back('\r');
        break;
      case '"':
      case '\\':
        out.push_back(e);
        break;
      case '0':
      case '1':
      case '2':
      case '3': {
        if (i + 2 > text.size() || text[i] < '0' || text[i] > '7' || text[i + 1] < '0' ||
            text[i + 1] > '7')
          return std::nullopt;
        int value = (e - '0') << 6 | (text[i] - '0') << 3 | (text[i + 1] - '0');
        if (value == 0) return std::nullopt;
        out.push_back(static_cast<char>(value));
        i += 2;
        break;
      }
      default:
        return std::nullopt;
    }
  }
  return std::nullopt;
}

bool IsUtf8(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size()) {
    auto c = static_cast<unsigned char>(text[i]);
    if (c < 0x80) {
      ++i;
      continue;
    }
    std::size_t more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
    if (c < 0xc2 || c > 0xf4 || i + more >= text.size()) return false;
    std::uint32_t point = c & (0x3fu >> more);
    for (std::size_t k = 1; k <= more; ++k) {
      auto next = static_cast<unsigned char>(text[i + k]);
      if ((next & 0xc0) != 0x80) return false;
      point = point << 6 | (next & 0x3f);
    }
    static constexpr std::uint32_t kLeast[] = {0, 0x80, 0x800, 0x10000};
    if (point < kLeast[more] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
      return false;
    i += more + 1;
  }
  return true;
}

std::string PathForRecord(std::string_view path) {
  return IsUtf8(path) ? std::string(path) : QuotePath(path);
}

}  // namespace writ::workspace
