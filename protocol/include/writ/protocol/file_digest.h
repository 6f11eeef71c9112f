// DigestOfFile: SHA-256 of a whole file, read in pieces.
#pragma once

#include <string>

#include "writ/base/result.h"
#include "writ/protocol/digest.h"

namespace writ::protocol {

// Of an open regular file, from its first byte on; its offset stays where it is. Errors: the system
// call's, as "digest.read".
Result<Digest> DigestOfFile(int file);
// Links are followed: for names that are the caller's own.
Result<Digest> DigestOfFile(const std::string& path);

}  // namespace writ::protocol
