// Applying git's binary delta, as it stands in packs and in "GIT binary patch" text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "writ/base/result.h"

namespace writ::workspace {

// kInvalid "delta.damaged" where a byte of it is not as it must be; never reads outside `base`,
// never makes more than `limit` bytes.
Result<std::string> ApplyGitDelta(std::string_view base, std::string_view delta,
                                  std::uint64_t limit);

}  // namespace writ::workspace
