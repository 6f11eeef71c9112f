// The keys that a near plane knows by itself, so that nothing is taken from a bundle's own word.
#pragma once

#include <string_view>

#include "writ/plane/plane.h"
#include "writ/protocol/bundle.h"

namespace writ::cli {

inline constexpr std::uint64_t kMaxBundleBytes = protocol::kDefaultMaxBundleBytes;

// The plane's own key, and the runner's where the key in the bundle is the one that enrolled.
protocol::VerifyOptions PinnedByPlane(plane::Plane& plane, std::string_view bundle_text);

}  // namespace writ::cli
