// Names in a store of snapshots.
#pragma once

namespace writ::backends::microvm {

inline constexpr char kFolderPrefix[] = "sha256-";
inline constexpr char kNewPrefix[] = ".new-";
inline constexpr char kOldPrefix[] = ".old-";

}  // namespace writ::backends::microvm
