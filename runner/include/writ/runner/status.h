// What a working runner says of itself: over HTTP on its own Unix socket <state_dir>/status.sock
// (0600) and, where the operator wants, on one more place.
//
//   GET /healthz  200, or 503 where a loop does not turn any more
//   GET /readyz   200, or 503 with what stands in the way of a session
//   GET /metrics  Prometheus text format
//   GET /status   all of it as JSON, for `writ runner status`
//
// On the loopback interface any user of the machine can read it, so nothing in it is secret.
#pragma once

#include <string>

#include "writ/base/result.h"
#include "writ/protocol/json.h"

namespace writ::runner {

// "127.0.0.1:9464", "[::1]:9464" or "unix:/run/writ/metrics.sock". kInvalid "status.address" for
// anything else: other interfaces are not served.
Status CheckStatusAddress(const std::string& address);

// Asks the runner that works in `state_dir`. kNotFound "status.no_runner" where none does.
Result<json::Value> ReadRunnerStatus(const std::string& state_dir);

}  // namespace writ::runner
