// ImageSource: the documents and layers of one image, wherever they come from. What it gives has
// been checked against the digests that lead there.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "writ/backends/image/import_limits.h"
#include "writ/backends/image/oci_documents.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::image {

struct ImageSource {
  enum class Kind { kOciLayout, kDockerArchive };
  Kind kind = Kind::kOciLayout;
  protocol::Digest config_digest;                   // names the image
  std::optional<protocol::Digest> manifest_digest;  // OCI
  ImageConfig config;
  std::vector<UniqueFd> layers;  // compressed or not; the lowest first
  std::vector<std::string> tags;
};

// `dir`: an OCI image layout. `tag`: which one of several images; "" where there is one for this
// host.
Result<ImageSource> OpenOciLayout(int dir, const std::string& tag, const ImportLimits& limits);
// `dir`: the files of a docker-archive.
Result<ImageSource> OpenDockerFiles(int dir, const std::string& tag, const ImportLimits& limits);

// Puts the files of an image's archive (tar, perhaps compressed) into the empty directory `into`.
Status SpoolArchive(int file, int into, const ImportLimits& limits);

// "oci-layout" and index.json are there.
bool IsOciLayout(int dir);

}  // namespace writ::backends::image
