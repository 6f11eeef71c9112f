// An ExitStatus within a message.
#pragma once

#include "writ/backends/launch/wire.h"
#include "writ/backends/outcome.h"

namespace writ::backends::microvm {

void PutStatus(launch::Writer& out, const ExitStatus& status);
ExitStatus TakeStatus(launch::Reader& in);

}  // namespace writ::backends::microvm
