// A plain root directory as an image: copied, and named by a digest over what was copied.
#pragma once

#include "root_writer.h"
#include "writ/base/result.h"
#include "writ/protocol/digest.h"

namespace writ::backends::image {

// The digest covers, in the order of names, each entry's kind, kept mode, path, and content or
// target. Reads beneath `from` only; never follows a link.
Result<protocol::Digest> CopyDirectory(int from, const ImportLimits& limits, RootWriter& to);

}  // namespace writ::backends::image
