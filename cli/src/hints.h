// HintFor: what to do about an error whose maker knew the call that failed, but not the command
// that it failed for.
#pragma once

#include <string>

#include "writ/base/result.h"

namespace writ::cli {

struct Context;

// The error's own hint, else one for its code; "" where nothing is known that would help.
std::string HintFor(const Error& error, const Context& context);

}  // namespace writ::cli
