// Which names may stand in a tree that we check out or hand back.
//
// The rule is git's own verify_path with the NTFS and HFS protections on: what plain `git apply`
// would refuse is never written by us and never carried in a diff.
#pragma once

#include <cstddef>
#include <string_view>

namespace writ::workspace {

inline constexpr std::size_t kMaxPathBytes = 4095;
inline constexpr std::size_t kMaxPathDepth = 1000;

// False for ".", "..", empty, anything with '/' or NUL, longer than 255 bytes, and every spelling
// of ".git" that some file system takes for it (".GIT", "git~1", ".git ", ".git.", ".git::$DATA",
// ".git\x", zero-width characters in between).
bool IsSafeTreeName(std::string_view component);

// Every component safe, length and depth within bounds, relative.
bool IsSafeTreePath(std::string_view path);

// Whether a symbolic link at `path` leads out of the tree by its own text: it is absolute, or goes
// up further than it lies deep. Nothing is resolved; a link behind it is judged by its own text.
bool LinkLeadsOutside(std::string_view path, std::string_view target);

// True for every spelling of ".git" named above.
bool LooksLikeDotGit(std::string_view component);

}  // namespace writ::workspace
