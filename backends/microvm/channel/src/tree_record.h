// The records of a tree stream: a tag, then numbers and texts.
#pragma once

#include <cstdint>

namespace writ::backends::microvm {

enum class TreeTag : std::uint64_t {
  kEnter,     // name, mode, 1 where nothing of what was there is left
  kLeave,     // -
  kFile,      // name, mode, size, number under which links to it are told (0: none)
  kExtent,    // offset, bytes
  kFileEnd,   // -
  kSymlink,   // name, target
  kFifo,      // name, mode
  kSocket,    // name, mode
  kRemoved,   // name
  kComplete,  // number of entries
  kLink,      // name, number of a file that was told: another name of it
};
inline constexpr std::uint64_t kLastTreeTag = static_cast<std::uint64_t>(TreeTag::kLink);

}  // namespace writ::backends::microvm
