#include "writ/base/clock.h"

#include <cstdio>
#include <ctime>

namespace writ {
namespace {

// Days since 1970-01-01 of a proleptic Gregorian date (H. Hinnant, "chrono-compatible low-level
// date algorithms", days_from_civil), by way of std::chrono.
std::int64_t DaysFromCivil(int y, unsigned m, unsigned d) {
  return std::chrono::sys_days(std::chrono::year(y) / std::chrono::month(m) / std::chrono::day(d))
      .time_since_epoch()
      .count();
}

bool ReadDigits(std::string_view text, std::size_t& pos, int count, int& out) {
  out = 0;
  for (int i = 0; i < count; ++i, ++pos) {
    if (pos >= text.size() || text[pos] < '0' || text[pos] > '9') return false;
    out = out * 10 + (text[pos] - '0');
  }
  return true;
}

}  // namespace

std::string FormatRfc3339(WallTime time) {
  std::int64_t ms = time.unix_ms % 1000;
  if (ms < 0) ms += 1000;
  std::int64_t seconds = (time.unix_ms - ms) / 1000;
  std::time_t t = static_cast<std::time_t>(seconds);
  std::tm tm{};
  gmtime_r(&t, &tm);
  char out[48];
  std::snprintf(out, sizeof out, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900,
                tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, static_cast<int>(ms));
  return out;
}

std::optional<WallTime> ParseRfc3339(std::string_view text) {
  std::size_t pos = 0;
  int year;
  int month;
  int day;
  int hour;
  int minute;
  int second;
  auto literal = [&](char c) { return pos < text.size() && text[pos++] == c; };
  if (!ReadDigits(text, pos, 4, year) || !literal('-') || !ReadDigits(text, pos, 2, month) ||
      !literal('-') || !ReadDigits(text, pos, 2, day) || !literal('T') ||
      !ReadDigits(text, pos, 2, hour) || !literal(':') || !ReadDigits(text, pos, 2, minute) ||
      !literal(':') || !ReadDigits(text, pos, 2, second))
    return std::nullopt;
  auto date = std::chrono::year(year) / std::chrono::month(static_cast<unsigned>(month)) /
              std::chrono::day(static_cast<unsigned>(day));
  if (!date.ok() || hour > 23 || minute > 59 || second > 59) return std::nullopt;
  std::int64_t ms = 0;
  if (pos < text.size() && text[pos] == '.') {
    ++pos;
    std::size_t first = pos;
    int scale = 100;
    while (pos < text.size() && text[pos] >= '0' && text[pos] <= '9') {
      ms += (text[pos] - '0') * scale;
      scale /= 10;
      ++pos;
    }
    if (pos == first || pos - first > 9) return std::nullopt;
  }
  std::int64_t offset_minutes = 0;
  if (pos < text.size() && text[pos] == 'Z') {
    ++pos;
  } else if (pos < text.size() && (text[pos] == '+' || text[pos] == '-')) {
    int sign = text[pos++] == '+' ? 1 : -1;
    int oh;
    int om;
    if (!ReadDigits(text, pos, 2, oh) || !literal(':') || !ReadDigits(text, pos, 2, om) ||
        oh > 23 || om > 59)
      return std::nullopt;
    offset_minutes = sign * (oh * 60 + om);
  } else {
    return std::nullopt;
  }
  if (pos != text.size()) return std::nullopt;
  std::int64_t days = DaysFromCivil(year, static_cast<unsigned>(month), static_cast<unsigned>(day));
  std::int64_t seconds = ((days * 24 + hour) * 60 + minute - offset_minutes) * 60 + second;
  return WallTime{seconds * 1000 + ms};
}

WallTime SystemClock::Now() const {
  return {std::chrono::duration_cast<std::chrono::milliseconds>(
              std::chrono::system_clock::now().time_since_epoch())
              .count()};
}

std::chrono::nanoseconds SystemClock::Monotonic() const {
  return std::chrono::steady_clock::now().time_since_epoch();
}

WallTime ManualClock::Now() const {
  std::lock_guard lock(mutex_);
  return now_;
}

std::chrono::nanoseconds ManualClock::Monotonic() const {
  std::lock_guard lock(mutex_);
  return monotonic_;
}

void ManualClock::Advance(std::chrono::milliseconds d) {
  std::lock_guard lock(mutex_);
  now_ = now_ + d;
  monotonic_ += d;
}

void ManualClock::SetWall(WallTime t) {
  std::lock_guard lock(mutex_);
  now_ = t;
}

}  // namespace writ
