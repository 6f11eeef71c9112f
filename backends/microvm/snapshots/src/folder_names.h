// Names in a store of snapshots.
#pragma once

#include <string>
#include <vector>

namespace writ::backends::microvm {

inline constexpr char kFolderPrefix[] = "sha256-";
inline constexpr char kNewPrefix[] = ".new-";
inline constexpr char kOldPrefix[] = ".old-";

// Sorted, without "." and "..".
std::vector<std::string> NamesIn(int dir);

}  // namespace writ::backends::microvm
