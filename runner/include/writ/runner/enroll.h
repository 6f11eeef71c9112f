// Enrol: makes this runner known to its plane, once.
#pragma once

#include <stop_token>

#include "writ/base/clock.h"
#include "writ/base/result.h"
#include "writ/base/secret.h"
#include "writ/runner/config.h"
#include "writ/runner/identity.h"

namespace writ::runner {

// Keys durable first, then POST /v1/runners/enroll, retried within config.call_timeout where no
// answer came; then the identity files. Already enrolled in this pool: returns that identity and
// calls nobody. Errors: runner.enroll_refused (the plane said no: the token is wrong or used up),
// runner.pool_changed, plane.*.
Result<Identity> Enroll(const RunnerConfig& config, const Secret& enroll_token, const Clock& clock,
                        std::stop_token stop = {});

// Whether the pinned key is one that the plane says it signs with, so that a wrong one is seen at
// the start, and not at the first contract (which is what counts: L1). Error:
// runner.plane_key_unknown. A plane that is away or does not tell its keys gives no error.
Status CheckPlaneKey(const RunnerConfig& config, const Clock& clock, std::stop_token stop = {});

}  // namespace writ::runner
