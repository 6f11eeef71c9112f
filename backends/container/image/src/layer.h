// One layer: decompressed, checked against its digest, applied to a root directory (OCI image-spec
// 1.1, layer.md).
#pragma once

#include "root_writer.h"
#include "tar_reader.h"
#include "writ/backends/image/import_limits.h"
#include "writ/protocol/digest.h"

namespace writ::backends::image {

// Reads `fd` from its start. `digest`: what the decompressed layer must have. A root that the layer
// was applied to before the mismatch was seen must not be used.
Status ApplyLayer(int fd, const protocol::Digest& digest, const ImportLimits& limits,
                  RootWriter& root);

// One entry of a layer, whiteouts included.
Status ApplyEntry(const TarEntry& entry, const WriteContent& content, const ImportLimits& limits,
                  RootWriter& root);

// A pull that watches the ratio and the size of what `in` decompresses to.
Pull Guarded(Decompressed& in, const ImportLimits& limits, std::uint64_t& produced);

// SHA-256 of a whole file, from its start; the position is at its end afterwards.
Result<protocol::Digest> FileDigest(int fd);

}  // namespace writ::backends::image
