// Read-only file systems for guests, by mkfs.erofs (package erofs-utils, 1.5 or newer).
// Uncompressed: a guest reads them from the host's page cache.
#pragma once

#include <sys/types.h>

#include <string>

#include "writ/base/result.h"

namespace writ::backends::microvm {

struct ErofsOwner {
  uid_t uid = 0;  // of everything in it
  gid_t gid = 0;
};
enum class ErofsTimes {
  kNone,  // one time for all, the same for the same tree: reproducible
  kOfTheFiles,
};

// `file` must not be there. kNotFound "microvm.mkfs" where the program is missing.
Status MakeErofs(const std::string& directory, const std::string& file, ErofsOwner owner,
                 ErofsTimes times);

// Whether `file` begins as such a file system does and is as long as it says: what is cut off or is
// none is found before a machine boots. kIntegrity "microvm.erofs". Reads one block.
Status CheckErofs(const std::string& file);

}  // namespace writ::backends::microvm
