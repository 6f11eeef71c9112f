// Rotation: this runner gets another key and token at the plane's wish, while no run is open.
//
// The new key is durable before the call, so that a lost answer is repaired by asking again with
// the same key; the swap is one rename (IdentityStore). Receipts signed by the old key verify
// still: the plane knows both.
#pragma once

#include "writ/runner/config.h"
#include "writ/runner/identity.h"
#include "writ/runner/plane_client.h"

namespace writ::runner {

// `identity` is replaced on success and untouched otherwise.
Status RotateIdentity(const RunnerConfig& config, const Clock& clock, PlaneClient& plane,
                      Identity& identity, std::stop_token stop);

}  // namespace writ::runner
