// Paths as git writes them in diffs: plain, or in double quotes with C escapes.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace writ::workspace {

// `path` as git prints it with core.quotePath=true: unchanged, or "..." with C escapes where a byte
// is below 0x20, above 0x7e, a double quote or a backslash.
std::string QuotePath(std::string_view path);
bool NeedsQuoting(std::string_view path);

// Reads one quoted string at the start of `text` (which begins with '"'); `consumed` is how many
// bytes it took. nullopt where an escape is unknown, a NUL comes out, or the closing quote is
// missing.
std::optional<std::string> UnquotePath(std::string_view text, std::size_t& consumed);

bool IsUtf8(std::string_view text);  // well-formed, no surrogates, no overlong forms

// How a path stands in events and manifests (protocol.md §2): UTF-8 paths as they are, all others
// in git's C-quoted form (the caller adds pathB64).
std::string PathForRecord(std::string_view path);

}  // namespace writ::workspace
