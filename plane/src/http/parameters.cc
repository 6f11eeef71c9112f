#include "http/parameters.h"

#include <algorithm>
#include <charconv>

namespace writ::plane::http {

Result<std::string_view> BearerToken(const Request& request) {
  constexpr std::string_view kPrefix = "Bearer ";
  const std::string_view header = request.head.authorization;
  if (header.starts_with(kPrefix)) return header.substr(kPrefix.size());
  return Error{.kind = ErrorKind::kDenied,
               .code = "unauthorized",
               .message = "unauthorized",
               .hint = "send Authorization: Bearer TOKEN"};
}
namespace {

constexpr std::chrono::milliseconds kLongestPoll{30'000};

}  // namespace

std::chrono::milliseconds PollTime(std::int64_t wanted_ms) {
  return std::min(std::chrono::milliseconds(std::max<std::int64_t>(wanted_ms, 0)), kLongestPoll);
}

Result<std::int64_t> QueryNumber(const Request& request, std::string_view name,
                                 std::int64_t fallback) {
  auto found = request.head.query.find(name);
  if (found == request.head.query.end()) return fallback;
  const std::string& text = found->second;
  std::int64_t value = 0;
  auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size() || value < 0 ||
      value > json::kMaxSafeInteger) {
    return Error{.kind = ErrorKind::kInvalid,
                 .code = "http.query",
                 .message = "invalid request: " + std::string(name) + ": must be a whole number"};
  }
  return value;
}

}  // namespace writ::plane::http
