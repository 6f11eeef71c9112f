#include "rates.h"

#include <algorithm>

namespace writ::plane {

// The generic cell rate algorithm: a bucket is the moment at which it is full again. Taking one
// moves that moment by an interval; it may not move further than a burst of intervals into the
// future: a moment that lies there was set before the clock was put back, and counts as a bucket
// with room for one.
Status TakeFromBucket(store::Database& db, const std::optional<RateLimit>& limit,
                      const std::string& bucket, WallTime now) {
  if (!limit) return {};
  const std::int64_t interval = std::max<std::int64_t>(1, 60'000'000 / limit->per_minute);
  const std::int64_t depth = interval * limit->burst;
  const std::int64_t now_us = now.unix_ms * 1000;
  WRIT_ASSIGN(auto taken,
              db.Number("INSERT INTO rates (bucket, full_at) VALUES (?1, ?2 + ?3) "
                        "ON CONFLICT (bucket) DO UPDATE SET full_at = "
                        "CASE WHEN full_at > ?2 + ?4 THEN ?2 + ?4 ELSE max(full_at, ?2) + ?3 END "
                        "WHERE full_at > ?2 + ?4 OR max(full_at, ?2) + ?3 - ?2 <= ?4 "
                        "RETURNING full_at",
                        bucket, now_us, interval, depth));
  if (taken) return {};
  WRIT_ASSIGN(auto full_at, db.Number("SELECT full_at FROM rates WHERE bucket = ?", bucket));
  std::int64_t wait_us =
      std::max<std::int64_t>(full_at.value_or(now_us) + interval - depth - now_us, 1);
  return Error{.kind = ErrorKind::kOverloaded,
               .code = "rate_limited",
               .message = "too many run requests for " + bucket,
               .hint = "retry after " + std::to_string((wait_us + 999'999) / 1'000'000) + " s"};
}

}  // namespace writ::plane
