// The workspace manifest `warrant.manifest.v1`: which commit, bundle, dirty diff and untracked
// files a run starts from.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "writ/protocol/digest.h"
#include "writ/protocol/names.h"
#include "writ/protocol/reader.h"

namespace writ::protocol {

inline constexpr std::string_view kManifestVersion = "warrant.manifest.v1";

struct UntrackedFile {
  WorkspacePath path;
  Digest hash;
  std::int64_t bytes = 0;
};

struct Manifest {
  CommitId base_ref;
  Digest bundle_hash;
  std::optional<Digest> dirty_diff_hash;
  std::vector<UntrackedFile> untracked_files;  // paths are unique
  std::vector<std::string> denied_patterns;
  std::vector<std::string> denied_paths;
  json::Value raw;  // as it was read, unknown members included; null when built here

  static Manifest Read(json::ObjectReader reader, const json::Value& raw);
  static Result<Manifest> Parse(const json::Value& value);
  json::Value ToJson() const;  // `raw` where there is one
  Digest Hash() const;         // the manifest hash of the protocol
};

}  // namespace writ::protocol
