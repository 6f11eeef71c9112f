// Durations and sizes as people write them: "90s", "10m", "1h30m", "500ms"; a bare number is
// seconds.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace writ::cli {

// nullopt for anything else, for zero and for more than 366 days.
std::optional<std::chrono::milliseconds> ParseDuration(std::string_view text);
// "1.2 s", "3 min 20 s", "85 ms".
std::string FormatDuration(std::chrono::milliseconds duration);
// "512M", "4G", "1000000": whole numbers of bytes, K to T in powers of 1,024.
std::optional<std::int64_t> ParseSize(std::string_view text);
// "1.4 MiB", "372 B".
std::string FormatBytes(unsigned long long bytes);

}  // namespace writ::cli
