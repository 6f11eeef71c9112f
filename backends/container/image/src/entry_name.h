// The names of a layer's entries, made safe to resolve beneath a directory.
#pragma once

#include <string>
#include <string_view>

#include "writ/backends/image/import_limits.h"
#include "writ/base/result.h"

namespace writ::backends::image {

// "./a//b/" gives "a/b"; the root itself gives "". Absolute names, "..", and names past the limits
// are refused (kInvalid "image.hostile_name"), never repaired.
Result<std::string> CleanEntryName(std::string_view name, const ImportLimits& limits);

struct SplitName {
  std::string parent;  // "" for the root
  std::string last;
};
SplitName Split(const std::string& clean);

// For an error's sentence: printable, and not long.
std::string Shown(std::string_view name);

}  // namespace writ::backends::image
