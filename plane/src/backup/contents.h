// What a backup holds: which names there are, and the manifest at its end.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "writ/base/result.h"

namespace writ::plane {

inline constexpr std::string_view kManifestName = "manifest.json";
inline constexpr std::string_view kSnapshotName = "state.db";
inline constexpr std::uint64_t kMaxManifestBytes = 1ull << 30;
inline constexpr std::uint64_t kMaxSmallFileBytes = 4ull << 20;  // keys, configuration, policy

// "state.db", "policy.json", "keys/NAME", "blobs/HASH", ... and nothing that leads elsewhere.
bool IsBackupName(std::string_view name);
// Where it stands in a plane's directory: "plane/state.db", "plane/blobs/ab/abcd...".
std::string PlaceOf(std::string_view name);

struct BackedUpFile {
  std::uint64_t bytes = 0;
  std::string sha256;
};
struct Manifest {
  std::string made_at;
  std::string plane_key_id;
  int schema = 0;
  std::map<std::string, BackedUpFile> files;
  std::vector<std::string> missing_blobs;

  std::string ToText() const;
  static Result<Manifest> Parse(std::string_view text);
};

}  // namespace writ::plane
