// The grammar shared by heads and trailers: tokens, field values, numbers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "writ/egress/http_head.h"

namespace writ::egress {

// One field line without its CRLF.
std::variant<HeaderField, HttpRefusal> ParseHeaderLine(std::string_view line);

bool IsVisibleAscii(std::string_view text);  // 0x21 to 0x7e only
bool IsFieldValue(std::string_view text);    // RFC 9110 section 5.5: no control characters but tab
std::string_view TrimSpace(std::string_view text);
std::string AsciiLower(std::string_view text);
std::string AsciiUpper(std::string_view text);
// Digits only, at most 18 of them (so never an overflow); no sign, no space.
std::optional<std::uint64_t> ParseDecimal(std::string_view text);

}  // namespace writ::egress
