#include "writ/protocol/names.h"

#include <algorithm>

namespace writ::protocol {
namespace {

bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}
bool IsLower(char c) {
  return c >= 'a' && c <= 'z';
}
bool IsLetter(char c) {
  return IsLower(c) || (c >= 'A' && c <= 'Z');
}
bool IsHex(char c) {
  return IsDigit(c) || (c >= 'a' && c <= 'f');
}

template <typename Accept>
bool All(std::string_view text, std::size_t min, std::size_t max, Accept accept) {
  return text.size() >= min && text.size() <= max && std::all_of(text.begin(), text.end(), accept);
}

bool IsIdentifier(std::string_view text) {
  return All(text, 1, 256, [](char c) { return IsLetter(c) || IsDigit(c) || c == '_'; }) &&
         !IsDigit(text[0]);
}

bool IsFileSafeId(std::string_view text) {
  return All(text, 1, 128,
             [](char c) {
               return IsLetter(c) || IsDigit(c) || c == '_' || c == '.' || c == '-';
             }) &&
         (IsLetter(text[0]) || IsDigit(text[0]));
}

// A last label of digits, or of 0x and hex digits, makes the whole an address for some resolvers.
bool LooksNumeric(std::string_view label) {
  if (std::all_of(label.begin(), label.end(), IsDigit)) return true;
  return label.starts_with("0x") && std::all_of(label.begin() + 2, label.end(), IsHex);
}

}  // namespace

bool RunIdRule::Accepts(std::string_view text) {
  return IsFileSafeId(text);
}
bool RunnerIdRule::Accepts(std::string_view text) {
  return IsFileSafeId(text);
}

bool PoolRule::Accepts(std::string_view text) {
  return All(text, 1, 128, [](char c) {
    return IsLetter(c) || IsDigit(c) || c == '_' || c == '.' || c == ':' || c == '-';
  });
}

bool SecretRule::Accepts(std::string_view text) {
  return IsIdentifier(text);
}
bool EnvRule::Accepts(std::string_view text) {
  return IsIdentifier(text);
}

bool HostRule::Accepts(std::string_view text) {
  if (text.empty() || text.size() > 253) return false;
  std::string_view rest = text, label;
  while (true) {
    const std::size_t dot = rest.find('.');
    label = rest.substr(0, dot);
    if (!All(label, 1, 63, [](char c) { return IsLower(c) || IsDigit(c) || c == '-'; }))
      return false;
    if (label.front() == '-' || label.back() == '-') return false;
    if (dot == std::string_view::npos) break;
    rest.remove_prefix(dot + 1);
  }
  return !LooksNumeric(label);
}

bool AllowedHostRule::Accepts(std::string_view text) {
  return HostRule::Accepts(text.starts_with("*.") ? text.substr(2) : text);
}

bool WorkspacePathRule::Accepts(std::string_view text) {
  if (text.empty() || text.size() > 4096 || text.front() == '/') return false;
  if (text.size() >= 2 && IsLetter(text[0]) && text[1] == ':') return false;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == '\\' || c == 0x7F) return false;
  }
  while (true) {
    const std::size_t slash = text.find('/');
    const std::string_view part = text.substr(0, slash);
    if (part.empty() || part == "." || part == "..") return false;
    if (slash == std::string_view::npos) return true;
    text.remove_prefix(slash + 1);
  }
}

bool WorkspaceDirRule::Accepts(std::string_view text) {
  return text == "." || WorkspacePathRule::Accepts(text);
}

bool AgentKindRule::Accepts(std::string_view text) {
  return All(text, 1, 64, [](char c) { return IsLower(c) || IsDigit(c) || c == '-'; }) &&
         text[0] != '-';
}

bool KeyIdRule::Accepts(std::string_view text) {
  return text.starts_with("ed25519:") && All(text.substr(8), 16, 16, IsHex);
}

bool CommitRule::Accepts(std::string_view text) {
  return All(text, 40, 40, IsHex) || All(text, 64, 64, IsHex);
}

}  // namespace writ::protocol
