#include "entry_name.h"

#include <cstdio>

namespace writ::backends::image {
namespace {

constexpr std::size_t kMaxComponent = 255;  // NAME_MAX
constexpr std::size_t kShownBytes = 120;

Error Hostile(std::string_view name, const std::string& why) {
  return Error{ErrorKind::kInvalid, "image.hostile_name",
               "the image has an entry that " + why + ": " + Shown(name),
               "do not use this image; a tool that builds images does not write such names"};
}

}  // namespace

std::string Shown(std::string_view name) {
  std::string out;
  for (unsigned char c : name.substr(0, kShownBytes)) {
    if (c >= 0x20 && c < 0x7f && c != '\\') {
      out += static_cast<char>(c);
      continue;
    }
    char hex[8];
    std::snprintf(hex, sizeof hex, "\\x%02x", c);
    out += hex;
  }
  return name.size() > kShownBytes ? out + "..." : out;
}

Result<std::string> CleanEntryName(std::string_view name, const ImportLimits& limits) {
  if (name.empty()) return Hostile(name, "has no name");
  if (name.size() > limits.name_bytes) return Hostile(name, "has a name too long");
  if (name.front() == '/') return Hostile(name, "has an absolute name");
  if (name.find('\0') != std::string_view::npos) return Hostile(name, "has a NUL in its name");
  std::string out;
  std::size_t depth = 0;
  while (!name.empty()) {
    const std::string_view part = name.substr(0, name.find('/'));
    name.remove_prefix(std::min(name.size(), part.size() + 1));
    if (part.empty() || part == ".") continue;
    if (part == "..") return Hostile(out + "/..", "leads out of the image");
    if (part.size() > kMaxComponent) return Hostile(part, "has a name too long");
    if (++depth > limits.depth) return Hostile(out, "lies too deep");
    if (!out.empty()) out += '/';
    out += part;
  }
  return out;
}

SplitName Split(const std::string& clean) {
  const std::size_t slash = clean.rfind('/');
  if (slash == std::string::npos) return {"", clean};
  return {clean.substr(0, slash), clean.substr(slash + 1)};
}

}  // namespace writ::backends::image
