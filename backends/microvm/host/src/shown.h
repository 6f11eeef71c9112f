// A guest's own words on an operator's screen.
#pragma once

#include <string>
#include <string_view>

namespace writ::backends::microvm {

inline constexpr std::size_t kMaxShown = 300;

inline std::string Shown(std::string_view text) {
  std::string out(text.substr(0, kMaxShown));
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) > 0x7e) c = ' ';
  return out;
}

}  // namespace writ::backends::microvm
