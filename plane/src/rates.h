// Rate limits that survive a restart: one row per bucket, taken from in the transaction of the act
// itself, so that an act which fails takes nothing.
#pragma once

#include <optional>
#include <string>

#include "store/database.h"
#include "writ/base/clock.h"
#include "writ/plane/config.h"

namespace writ::plane {

// Takes one from `bucket`; kOverloaded "rate_limited" where it is empty, with the wait in whole
// seconds in the hint ("retry after 3 s").
Status TakeFromBucket(store::Database& db, const std::optional<RateLimit>& limit,
                      const std::string& bucket, WallTime now);

}  // namespace writ::plane
