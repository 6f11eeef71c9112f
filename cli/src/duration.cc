#include "duration.h"

#include <charconv>
#include <cstdio>

namespace writ::cli {

std::optional<std::chrono::milliseconds> ParseDuration(std::string_view text) {
  constexpr std::int64_t kMax = std::int64_t{366} * 24 * 3600 * 1000;
  std::int64_t total = 0;
  bool any = false;
  while (!text.empty()) {
    std::int64_t number = 0;
    auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (ec != std::errc() || number < 0 || number > kMax) return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    std::size_t letters = 0;
    while (letters < text.size() && text[letters] >= 'a' && text[letters] <= 'z') ++letters;
    std::string_view unit = text.substr(0, letters);
    text.remove_prefix(letters);
    std::int64_t scale;
    if (unit == "ms") {
      scale = 1;
    } else if (unit == "s" || (unit.empty() && text.empty() && !any)) {
      scale = 1000;
    } else if (unit == "m" || unit == "min") {
      scale = 60'000;
    } else if (unit == "h") {
      scale = 3'600'000;
    } else if (unit == "d") {
      scale = 86'400'000;
    } else {
      return std::nullopt;
    }
    if (number > kMax / scale) return std::nullopt;
    total += number * scale;
    any = true;
  }
  if (!any || total <= 0 || total > kMax) return std::nullopt;
  return std::chrono::milliseconds(total);
}

std::string FormatDuration(std::chrono::milliseconds duration) {
  char out[64];
  long long ms = duration.count();
  if (ms < 1000) {
    std::snprintf(out, sizeof out, "%lld ms", ms);
  } else if (ms < 60'000) {
    std::snprintf(out, sizeof out, "%.1f s", static_cast<double>(ms) / 1000.0);
  } else if (ms / 1000 % 60 == 0) {
    std::snprintf(out, sizeof out, "%lld min", ms / 60'000);
  } else {
    std::snprintf(out, sizeof out, "%lld min %lld s", ms / 60'000, ms / 1000 % 60);
  }
  return out;
}

std::optional<std::int64_t> ParseSize(std::string_view text) {
  int shift = 0;
  if (!text.empty()) {
    const std::size_t unit = std::string_view("KMGT").find(text.back());
    if (unit != std::string_view::npos) {
      shift = 10 * (static_cast<int>(unit) + 1);
      text.remove_suffix(1);
    }
  }
  std::int64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || value <= 0 ||
      value > (std::int64_t{1} << 50) >> shift)
    return std::nullopt;
  return value << shift;
}

std::string FormatBytes(unsigned long long bytes) {
  char out[64];
  if (bytes < 1024) {
    std::snprintf(out, sizeof out, "%llu B", bytes);
    return out;
  }
  double value = static_cast<double>(bytes);
  const char* unit = "B";
  for (const char* next : {"KiB", "MiB", "GiB", "TiB"}) {
    if (value < 1024) break;
    value /= 1024;
    unit = next;
  }
  std::snprintf(out, sizeof out, "%.1f %s", value, unit);
  return out;
}

}  // namespace writ::cli
