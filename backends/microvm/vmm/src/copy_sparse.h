// Copies of memory files: as much as was ever written, holes as holes.
#pragma once

#include <string>

#include "writ/base/result.h"

namespace writ::backends::microvm {

// `to` must not be there; it is made with mode 0600. Shares the blocks where the file system can.
Status CopySparse(const std::string& from, const std::string& to);

}  // namespace writ::backends::microvm
