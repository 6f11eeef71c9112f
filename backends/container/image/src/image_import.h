// The import of one image into an empty directory.
#pragma once

#include <string>

#include "writ/backends/image/image_store.h"

namespace writ::backends::image {

// Makes `root` and, for archives, `source` in `into` (an empty directory); `source` is removed
// again.
Result<ImageRecord> ImportInto(int into, const std::string& path, const ImportOptions& options);

}  // namespace writ::backends::image
