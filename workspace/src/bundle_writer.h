// Makes the bundle of a commit with all its history, and keeps it by repository and commit.
#pragma once

#include <cstdint>
#include <string>

#include "repository_files.h"
#include "writ/protocol/digest.h"
#include "writ/workspace/capture.h"

namespace writ::workspace {

struct BundleFile {
  std::string path{};
  protocol::Digest digest{};
  std::uint64_t bytes = 0;
  std::size_t commits = 0;
  bool was_cached = false;
};

// A kept bundle is used again while its file is the one that was recorded, so one commit of one
// repository keeps giving the same bytes; where it is lost it is made again, the same as long as
// the repository has not been repacked.
Result<BundleFile> BundleOfHead(const RepositoryFiles& repository, const OdbSource& objects,
                                int cache, const std::string& cache_path,
                                const CaptureProgress& progress);

}  // namespace writ::workspace
