// ObjectId and TreeItem: the words in which this folder talks about git's objects, without git2.h.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace writ::workspace {

// A SHA-1 object id. All zeros means "no object".
struct ObjectId {
  std::array<std::uint8_t, 20> bytes{};

  static std::optional<ObjectId> FromHex(std::string_view hex);  // exactly 40 lower-case digits
  static ObjectId OfBlob(std::string_view content);              // SHA-1 of "blob <n>\0" + content
  static ObjectId OfObject(std::string_view type, std::string_view content);
  std::string Hex() const;
  bool IsZero() const { return *this == ObjectId{}; }
  auto operator<=>(const ObjectId&) const = default;
};

// The file modes that git knows.
inline constexpr std::uint32_t kModeRegular = 0100644;
inline constexpr std::uint32_t kModeExecutable = 0100755;
inline constexpr std::uint32_t kModeSymlink = 0120000;
inline constexpr std::uint32_t kModeGitlink = 0160000;
inline constexpr std::uint32_t kModeTree = 040000;

// One file of a tree listing. Listings are sorted by the bytes of `path`, without directories.
struct TreeItem {
  std::string path{};  // relative, raw bytes, '/' between components
  std::uint32_t mode = kModeRegular;
  ObjectId id{};
  bool operator==(const TreeItem&) const = default;
};
using TreeListing = std::vector<TreeItem>;

}  // namespace writ::workspace
