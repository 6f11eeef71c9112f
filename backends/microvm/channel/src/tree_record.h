// The records of a tree stream: a tag, then numbers and texts.
#pragma once

#include <cstdint>

namespace writ::backends::microvm {

enum class TreeTag : std::uint64_t {
  kEnter,     // name, mode, 1 where nothing of what was there is left
  kLeave,     // -
  kFile,      // name, mode, size
  kExtent,    // offset, bytes
  kFileEnd,   // -
  kSymlink,   // name, target
  kFifo,      // name, mode
  kSocket,    // name, mode
  kRemoved,   // name
  kComplete,  // number of entries
};
inline constexpr std::uint64_t kLastTreeTag = static_cast<std::uint64_t>(TreeTag::kComplete);

}  // namespace writ::backends::microvm
