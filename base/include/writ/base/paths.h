// Paths beneath a directory handle (L13).
//
// An untrusted relative path is resolved by openat2(2) with RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
// RESOLVE_NO_MAGICLINKS, so no symbolic link, "..", or /proc trick leaves the tree. Where the
// kernel has no openat2 (before 5.6) the same is done component by component with O_NOFOLLOW.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <string_view>

#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ {

// Opens `path` (relative, not empty) beneath `dir`. `flags` as for open(2); O_CLOEXEC and
// O_NOFOLLOW are added. Fails with ELOOP/EXDEV where any component is a symbolic link or leads
// outside.
Result<UniqueFd> OpenBeneath(int dir, std::string_view path, int flags, mode_t mode = 0);

// A directory by its trusted absolute path, O_PATH-free and O_CLOEXEC.
Result<UniqueFd> OpenDirectory(const std::string& path);

// Makes `path` beneath `dir` with all missing parents (mode for each new one) and opens it.
Result<UniqueFd> MakeDirectoriesBeneath(int dir, std::string_view path, mode_t mode);
// mkdir -p for a trusted absolute path, owned by us; opens it.
Result<UniqueFd> MakeDirectories(const std::string& path, mode_t mode);

// Removes `name` (a single component) beneath `dir` with everything below it: never follows a link,
// never crosses a mount, copes with mode 000 directories and immutable flags that we may clear.
// Goes on past errors and returns the first one when it is done.
Status RemoveTreeBeneath(int dir, const std::string& name);

// True for a relative path in the protocol's sense: not empty, no leading "/", no "." or ".."
// or empty component, no "\", NUL or drive letter.
bool IsSafeRelativePath(std::string_view path);

}  // namespace writ
