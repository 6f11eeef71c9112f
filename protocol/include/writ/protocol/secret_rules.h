// What a secret's name and value must be for a job to be given it. One rule for all who refuse: the
// plane when a secret is set, asked for or released, the runner before the job starts.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "writ/base/result.h"

namespace writ::protocol {

// A shorter value could not be told from ordinary text, so that no redactor could keep it back.
inline constexpr std::size_t kMinSecretBytes = 4;
inline constexpr std::size_t kMaxSecretBytes = 64 * 1024;

// kInvalid "secret.reserved_name": a variable of the launcher or the proxy has this name.
Status CheckSecretVariable(std::string_view name);

// What a redactor can keep back: kInvalid "secret.too_short", "secret.too_large". Names the secret,
// never its value (L8).
Status CheckSecretLength(const std::string& name, std::string_view value);

// The length, and what wire and environment can carry: kInvalid "secret.nul", "secret.not_text".
Status CheckSecretValue(const std::string& name, std::string_view value);

}  // namespace writ::protocol
