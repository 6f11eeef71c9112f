// zlib in one piece: bounded inflating of untrusted bytes, and deflating at git's speed for diffs.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "writ/base/result.h"

namespace writ::workspace {

// Exactly `size` bytes out of all of `deflated`; anything else is kInvalid "zlib.damaged".
Result<std::string> Inflate(std::string_view deflated, std::uint64_t size);

// At Z_BEST_SPEED, as git deflates the binary parts of a diff.
std::string DeflateFast(std::string_view bytes);
// At zlib's default level, as git deflates packs.
std::string DeflatePack(std::string_view bytes);

}  // namespace writ::workspace
