// Request targets of a forward proxy: absolute form and authority form, nothing else. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "writ/egress/http_head.h"

namespace writ::egress {

// Parts as sent; the host is not yet normalised.
struct AuthorityParts {
  std::string host;  // brackets kept
  std::optional<std::uint16_t> port;
};

struct AbsoluteTarget {
  AuthorityParts authority;
  std::string path_and_query;  // begins with "/"
};

// "host", "host:port", "[v6]:port". User information, an empty or zero port and leading zeros are
// refused. Codes: target.user_info, target.port, target.empty_host, target.authority.
std::variant<AuthorityParts, HttpRefusal> ParseAuthority(std::string_view text);

// "http://authority[/path][?query]". Codes: target.not_absolute (origin or asterisk form),
// target.scheme (https and others go by CONNECT), target.fragment, and those of ParseAuthority.
std::variant<AbsoluteTarget, HttpRefusal> ParseAbsoluteTarget(std::string_view target);

// CONNECT's "host:port"; the port is required.
std::variant<AuthorityParts, HttpRefusal> ParseConnectTarget(std::string_view target);

}  // namespace writ::egress
