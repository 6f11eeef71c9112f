// The protocol's one form of a time: "2026-06-22T05:05:48.993Z", 24 characters, nothing else.
#pragma once

#include <optional>
#include <string_view>

#include "writ/base/clock.h"

namespace writ {

// Quick, and exactly the texts that FormatRfc3339 writes (no leap seconds, years 0000 to 9999).
std::optional<WallTime> ExactTime(std::string_view text);

}  // namespace writ
