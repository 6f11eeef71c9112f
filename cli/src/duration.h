// Durations as people write them: "90s", "10m", "1h30m", "500ms"; a bare number is seconds.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace writ::cli {

// nullopt for anything else, for zero and for more than 366 days.
std::optional<std::chrono::milliseconds> ParseDuration(std::string_view text);
// "1.2 s", "3 min 20 s", "85 ms".
std::string FormatDuration(std::chrono::milliseconds duration);
// "1.4 MiB", "372 B".
std::string FormatBytes(unsigned long long bytes);

}  // namespace writ::cli
