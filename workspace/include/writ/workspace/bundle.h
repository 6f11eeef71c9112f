// Git bundles: the header (v2 and v3) as a pure, bounded parser, and the header writer.
//
// A bundle is a text header, an empty line, and a pack. Nothing here looks into the pack; that is
// ObjectCache's work. Clause: gitformat-bundle(5).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "writ/base/result.h"
#include "writ/workspace/object_id.h"

namespace writ::workspace {

struct BundleRef {
  ObjectId id{};
  std::string name{};  // "HEAD", "refs/heads/main"
};

struct BundleHeader {
  int version = 2;  // 2 or 3
  std::vector<ObjectId> prerequisites{};
  std::vector<BundleRef> refs{};
  std::uint64_t pack_offset = 0;  // where "PACK" starts
};

inline constexpr std::size_t kMaxBundleHeaderBytes = 4 * 1024 * 1024;

// `bytes` is the whole bundle or at least its first kMaxBundleHeaderBytes. Refuses, with a code of
// its own each: a foreign signature (bundle.not_a_bundle), a damaged line (bundle.malformed),
// SHA-256 repositories (bundle.object_format), partial-clone filters (bundle.filter), unknown
// capabilities (bundle.capability), no ref (bundle.no_ref), a missing pack (bundle.no_pack).
Result<BundleHeader> ParseBundleHeader(std::string_view bytes);

// A header that ParseBundleHeader and git read back.
std::string FormatBundleHeader(const BundleHeader& header);

}  // namespace writ::workspace
