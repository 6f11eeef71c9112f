// The head of an HTTP/1.1 request, parsed strictly (L29): what two parsers could read differently
// is refused. Pure.
//
// The library that reads bodies and writes answers never sees the client's head, only Canonical():
// a head of ours with what counts for framing.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "writ/base/result.h"

namespace writ::plane::http {

struct HeadLimits {
  std::size_t max_headers = 64;
  std::size_t max_target = 4096;
};

struct RequestHead {
  std::string method;  // upper-case token
  std::string path;    // raw, begins with "/"; never percent-decoded: no route of ours needs that
  std::map<std::string, std::string, std::less<>> query;  // decoded; each name at most once
  std::optional<std::uint64_t> content_length;
  bool chunked = false;
  bool expect_continue = false;
  bool close = false;  // the client asked for Connection: close
  std::string authorization;

  bool HasBody() const { return chunked || content_length.value_or(0) > 0; }
  std::string Canonical() const;
};

// `head` is everything up to and including the empty line. Codes, each with its HTTP status by
// StatusOf: http.request_line http.target http.header http.duplicate_header http.framing http.host
// http.too_many_headers (431) http.target_too_long (414) http.version (505) http.expectation (417)
// http.encoding (415).
Result<RequestHead> ParseRequestHead(std::string_view head, const HeadLimits& limits);
int StatusOf(const Error& error);

}  // namespace writ::plane::http
