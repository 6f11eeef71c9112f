// The base85 lines of a "GIT binary patch".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace writ::workspace {

// Lines of up to 52 bytes, each "<length letter><base85>\n".
void AppendBase85Lines(std::string& out, std::string_view bytes);
// The bytes of such lines; nullopt where a line is not of that form. `text` ends with a newline.
std::optional<std::string> DecodeBase85Lines(std::string_view text);

}  // namespace writ::workspace
