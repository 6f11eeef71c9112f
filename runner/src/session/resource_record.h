// What a run used and what held its limits, as they stand in the chain and in the receipt. Pure.
#pragma once

#include <optional>

#include "writ/backends/outcome.h"
#include "writ/protocol/json.h"
#include "writ/runner/failure.h"

namespace writ::runner {

inline constexpr std::string_view kResourceUsed = "resource.used";

// The event: `cpuMs, maxRssBytes, readBytes, writtenBytes, diskBytes, wallMs`, each only where
// somebody counted it, and `source` with who did.
json::Value ResourceUsed(const backends::Outcome& outcome);
// `enforcement.resources.limits`: limit, value, unit, source, heldBy, note.
json::Array LimitsRecord(const backends::Outcome& outcome);

// The failure of a run that a limit ended: limit.wall, limit.cpu, ...; budget_exceeded where the
// limit was the contract's budget. `is_budget`: of the wall clock.
enum class WallLimit { kBudget, kTimeOut };
RunFailure LimitFailure(const backends::PlannedLimit& limit, WallLimit wall);

}  // namespace writ::runner
