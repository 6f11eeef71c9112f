// The log: one structured line per happening, to standard error.
//
// A line is an event name (stable, dotted), a sentence, and fields. Fields are strings and numbers
// that the caller chose one by one: there is no way to log an object whole, so no secret, header,
// body or URL gets in by accident (L8, L10). Thread-safe. Text by default, JSON lines on request.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>

namespace writ::log {

enum class Level { kDebug, kInfo, kWarn, kError, kOff };
enum class Format { kText, kJson };

struct Field {
  Field(std::string_view k, std::string_view v) : key(k), value(v) {}
  Field(std::string_view k, const char* v) : key(k), value(v) {}
  Field(std::string_view k, const std::string& v) : key(k), value(v) {}
  template <typename Int>
    requires std::is_integral_v<Int>
  Field(std::string_view k, Int v) : key(k), value(std::to_string(v)), is_number(true) {}
  std::string key;
  std::string value;
  bool is_number = false;
};

// Called once, from main, before other threads log.
void Configure(Level level, Format format);
Level CurrentLevel();

void Write(Level level, std::string_view event, std::string_view message,
           std::initializer_list<Field> fields = {});

inline void Debug(std::string_view event, std::string_view message,
                  std::initializer_list<Field> fields = {}) {
  Write(Level::kDebug, event, message, fields);
}
inline void Info(std::string_view event, std::string_view message,
                 std::initializer_list<Field> fields = {}) {
  Write(Level::kInfo, event, message, fields);
}
inline void Warn(std::string_view event, std::string_view message,
                 std::initializer_list<Field> fields = {}) {
  Write(Level::kWarn, event, message, fields);
}
inline void Error(std::string_view event, std::string_view message,
                  std::initializer_list<Field> fields = {}) {
  Write(Level::kError, event, message, fields);
}

}  // namespace writ::log
