#include "writ/workspace/path_rules.h"

#include <algorithm>
#include <cstdint>
#include <string>

namespace writ::workspace {
namespace {

char Lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
}

// NTFS strips trailing dots and spaces, takes "name:stream" for the name, and knows ".git" also by
// its short name.
bool IsNtfsDotGit(std::string_view piece) {
  std::string name;
  for (char c : piece) {
    if (c == ':') break;
    name.push_back(Lower(c));
  }
  while (!name.empty() && (name.back() == ' ' || name.back() == '.')) name.pop_back();
  return name == ".git" || name == "git~1";
}

// HFS+ ignores these code points when it compares names (all three bytes long in UTF-8).
bool IsHfsIgnorable(std::uint32_t point) {
  return (point >= 0x200c && point <= 0x200f) || (point >= 0x202a && point <= 0x202e) ||
         (point >= 0x206a && point <= 0x206f) || point == 0xfeff;
}

bool IsHfsDotGit(std::string_view piece) {
  std::string name;
  for (std::size_t i = 0; i < piece.size(); ++i) {
    auto c = static_cast<unsigned char>(piece[i]);
    if ((c & 0xf0) == 0xe0 && i + 2 < piece.size()) {
      std::uint32_t point = (c & 0x0fu) << 12 |
                            (static_cast<unsigned char>(piece[i + 1]) & 0x3fu) << 6 |
                            (static_cast<unsigned char>(piece[i + 2]) & 0x3fu);
      if (IsHfsIgnorable(point)) {
        i += 2;
        continue;
      }
    }
    name.push_back(Lower(piece[i]));
    if (name.size() > 4) return false;
  }
  return name == ".git";
}

}  // namespace

bool LooksLikeDotGit(std::string_view component) {
  if (IsHfsDotGit(component)) return true;
  std::size_t start = 0;
  while (start <= component.size()) {  // a backslash is a separator there
    std::size_t end = std::min(component.find('\\', start), component.size());
    if (IsNtfsDotGit(component.substr(start, end - start))) return true;
    start = end + 1;
  }
  return false;
}

bool IsSafeTreeName(std::string_view component) {
  if (component.empty() || component.size() > 255 || component == "." || component == "..")
    return false;
  for (char c : component)
    if (c == '/' || c == '\0') return false;
  // Every spelling of ".git" has a 'g' and a 'i'; the long way is for those that might be one.
  if (component.front() == '.' || component.front() == 'g' || component.front() == 'G' ||
      static_cast<unsigned char>(component.front()) >= 0x80 ||
      component.find('\\') != std::string_view::npos)
    return !LooksLikeDotGit(component);
  return true;
}

bool LinkLeadsOutside(std::string_view path, std::string_view target) {
  if (target.starts_with('/')) return true;
  // Folders between the root and the link.
  auto depth = static_cast<std::ptrdiff_t>(std::count(path.begin(), path.end(), '/'));
  std::size_t start = 0;
  while (start <= target.size()) {
    const std::size_t end = std::min(target.find('/', start), target.size());
    const std::string_view component = target.substr(start, end - start);
    if (component == "..") {
      if (--depth < 0) return true;
    } else if (!component.empty() && component != ".") {
      ++depth;
    }
    start = end + 1;
  }
  return false;
}

bool IsSafeTreePath(std::string_view path) {
  if (path.empty() || path.size() > kMaxPathBytes) return false;
  std::size_t start = 0;
  std::size_t depth = 0;
  while (start <= path.size()) {
    std::size_t end = std::min(path.find('/', start), path.size());
    if (!IsSafeTreeName(path.substr(start, end - start)) || ++depth > kMaxPathDepth) return false;
    start = end + 1;
  }
  return true;
}

}  // namespace writ::workspace
