// Where a secret's value comes from when it is released: a file, a variable of the plane's own
// environment, or an executable with a deadline (L44). Values never reach a log, an error text or
// argv (L8).
#pragma once

#include <string>
#include <string_view>

#include "writ/base/result.h"
#include "writ/base/secret.h"
#include "writ/plane/types.h"
#include "writ/protocol/json.h"

namespace writ::plane {

// One trailing newline of a file or of an executable's output is not part of the value.
// kUnavailable "secret.unavailable".
Result<Secret> FetchSecret(const SecretSource& source);

json::Value SourceToJson(const SecretSource& source);
Result<SecretSource> ParseSource(std::string_view text);
// Whether a source may be stored: absolute paths, a variable's name, a deadline within a minute.
Status CheckSource(const SecretSource& source);

}  // namespace writ::plane
