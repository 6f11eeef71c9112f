// CopyBeneath: files of one directory into another that is to become an image, as an import would
// bring them: nothing is written through a link, devices, FIFOs and sockets are left out, modes
// lose set-id bits and what group and others may write. Links are copied as they are, never
// followed; one that leads out of what is copied is refused where `links` says so.
#pragma once

#include <string>

#include "writ/backends/image/import_limits.h"
#include "writ/base/result.h"
#include "writ/protocol/digest.h"

namespace writ::backends::image {

enum class Links { kAsTheyAre, kInsideOnly };

// `name`: relative to the directory `from`, clean, reached through no link; "." is all of it.
// `target`: where it comes in `to`, relative and clean; "" for `to` itself. A directory's content
// comes into `target`, a file becomes it. The digest covers kinds, kept modes, places and contents.
// kInvalid "image.outside_link", "image.hostile_path", "image.too_large"; kNotFound
// "image.no_source".
Result<protocol::Digest> CopyBeneath(int from, const std::string& name, int to,
                                     const std::string& target, const ImportLimits& limits,
                                     ImportFindings& findings, Links links);

}  // namespace writ::backends::image
