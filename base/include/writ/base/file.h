// Whole files: bounded reads, atomic durable writes, locks.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ {

// Everything from the descriptor's position to its end; over `limit` bytes is an error (kInvalid,
// "file.too_large"), never a silent cut.
Result<std::string> ReadAll(int fd, std::uint64_t limit);
// A trusted path, opened O_CLOEXEC.
Result<std::string> ReadFile(const std::string& path, std::uint64_t limit);

Status WriteAll(int fd, std::string_view bytes);

// Replaces `name` in `dir` by temp file, fsync, rename, fsync of the directory (L39): after a crash
// the old or the new bytes are there, whole.
Status WriteFileAtomic(int dir, const std::string& name, std::string_view bytes, mode_t mode);
// The same, but never replaces: kConflict where `name` exists already.
Status CreateFileAtomic(int dir, const std::string& name, std::string_view bytes, mode_t mode);

// An exclusive advisory lock (flock) on `name` in `dir`, held until the descriptor closes; the
// kernel drops it when the holder dies. kConflict where another process holds it.
Result<UniqueFd> LockFile(int dir, const std::string& name);

}  // namespace writ
