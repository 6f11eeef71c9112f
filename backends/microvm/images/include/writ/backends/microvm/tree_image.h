// Trees of a run as one read-only file system (EROFS, kernel Documentation/filesystems/erofs.rst),
// written by ourselves: what is in them was chosen by a requester, and no program of the host's has
// to walk it with a runner's rights. Uncompressed: a guest reads it from the host's page cache.
//
// Nothing of a tree is followed or executed, names are bytes. The same trees give the same image.
// Guest images are mkfs.erofs's (erofs.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "writ/backends/microvm/erofs.h"
#include "writ/base/result.h"

namespace writ::backends::microvm {

struct ImagePart {
  std::string name;  // in the image's root; a single component
  std::string path;  // a directory, or a single file. Trusted; what is below it is not
};

struct ImageCounts {
  std::uint64_t entries = 0;  // below the root, the parts themselves too
  std::uint64_t bytes = 0;    // of files' content
};

// Writes to `out`, an empty file. Kept: names, kinds, permissions, times, links' targets, and the
// device (0, 0), an overlay's mark for what is gone; not kept: extended attributes, other devices;
// a file with two names becomes two. kConflict "microvm.image_changed" where a file is not as long
// any more as it was.
Result<ImageCounts> WriteTreeImage(const std::vector<ImagePart>& parts, ErofsOwner owner, int out);

}  // namespace writ::backends::microvm
