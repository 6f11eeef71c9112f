// The keys that a bundle is held to, so that nothing is taken from its own word: what a near plane
// knows by itself, and what the user gives in files.
#pragma once

#include <string>
#include <string_view>

#include "writ/plane/plane.h"
#include "writ/protocol/bundle.h"

namespace writ::cli {

inline constexpr std::uint64_t kMaxBundleBytes = protocol::kDefaultMaxBundleBytes;

// A public key in PEM.
Result<protocol::PublicKey> ReadPublicKey(const std::string& path);

// The plane's own key, and the runner's where the key in the bundle is the one that enrolled.
protocol::VerifyOptions PinnedByPlane(plane::Plane& plane, std::string_view bundle_text);

}  // namespace writ::cli
