// The JSON documents of images: OCI image-spec 1.1 (index, manifest, configuration) and the
// manifest.json of `docker save`. Pure parsing; fuzzed (tests/fuzz/oci_documents.cc).
//
// Strict JSON (no duplicate names). Members that are not listed here are ignored, as the
// specification asks. A digest that is not sha256 is kUnsupported "image.digest_kind".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/base/result.h"
#include "writ/protocol/digest.h"

namespace writ::backends::image {

struct Descriptor {
  std::string media_type;
  protocol::Digest digest;
  std::uint64_t size = 0;
  std::string os;            // of `platform`; empty where it is not told
  std::string architecture;  // "amd64", ...
  std::string name;          // annotation org.opencontainers.image.ref.name
  bool IsIndex() const;      // leads to another index
};

struct Index {
  std::vector<Descriptor> manifests;
};
struct Manifest {
  Descriptor config;
  std::vector<Descriptor> layers;  // the lowest first
};
struct ImageConfig {
  std::string os;
  std::string architecture;
  std::vector<protocol::Digest> diff_ids;  // of the decompressed layers, the lowest first
};
// Paths in the archive.
struct DockerImage {
  std::string config;
  std::vector<std::string> layers;
  std::vector<std::string> tags;
};

Result<Index> ParseIndex(std::string_view bytes);
Result<Manifest> ParseManifest(std::string_view bytes);
Result<ImageConfig> ParseImageConfig(std::string_view bytes);
Result<std::vector<DockerImage>> ParseDockerManifest(std::string_view bytes);

// "sha256:" and 64 lower-case hex digits.
Result<protocol::Digest> ParseImageDigest(std::string_view text);
std::string ImageDigestText(const protocol::Digest& digest);
// The architecture of this build in the specification's words.
std::string_view HostArchitecture();

}  // namespace writ::backends::image
