// Parameters of a request's query, and how long a poll may take.
#pragma once

#include <chrono>
#include <string_view>

#include "http/router.h"

namespace writ::plane::http {

// The token of the Authorization header, borrowed from the request. kDenied "unauthorized" where
// there is none: nothing was tried, so nothing is counted.
Result<std::string_view> BearerToken(const Request& request);

// A long poll looks again after a slice, so that a stop of the server is noticed soon.
inline constexpr std::chrono::milliseconds kPollSlice{400};
// What was asked for, within bounds.
std::chrono::milliseconds PollTime(std::int64_t wanted_ms);
// A whole number, or `fallback` where the query does not name it.
Result<std::int64_t> QueryNumber(const Request& request, std::string_view name,
                                 std::int64_t fallback);

}  // namespace writ::plane::http
