#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

#include "writ/runner/http_client.h"

namespace writ::runner {
namespace {

Error Invalid(std::string why) {
  return Error{.kind = ErrorKind::kInvalid,
               .code = "plane.url_invalid",
               .message = "the plane's URL is not usable: " + std::move(why),
               .hint = "write it as https://host[:port]"};
}

bool IsLoopback(const std::string& host) {
  if (host == "localhost") return true;  // libcurl resolves this name itself, to loopback only
  in_addr v4{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6{};
  return inet_pton(AF_INET6, host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

bool IsHostName(const std::string& host) {
  if (host.empty() || host.size() > 253 || host.front() == '.' || host.front() == '-') return false;
  return std::all_of(host.begin(), host.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
  });
}

}  // namespace

Result<OriginUrl> ParseOriginUrl(std::string_view url) {
  OriginUrl origin;
  if (url.starts_with("https://")) {
    origin.scheme = OriginUrl::Scheme::kHttps;
    url.remove_prefix(8);
  } else if (url.starts_with("http://")) {
    origin.scheme = OriginUrl::Scheme::kHttp;
    url.remove_prefix(7);
  } else {
    return Invalid("it begins with neither https:// nor http://");
  }
  if (url.find_first_of("?#@\\ \t\r\n") != std::string_view::npos)
    return Invalid("it has user information, a query, a fragment or white space");
  std::string_view authority = url.substr(0, url.find('/'));
  std::string_view path = url.substr(authority.size());
  while (!path.empty() && path.back() == '/') path.remove_suffix(1);
  for (char c : path)
    if (static_cast<unsigned char>(c) < 0x21 || c == '%' || c == 0x7f)
      return Invalid("its path has odd characters");
  origin.path_prefix = path;
  std::string_view port;
  bool has_port = false;
  if (authority.starts_with('[')) {
    std::size_t close = authority.find(']');
    if (close == std::string_view::npos) return Invalid("its IPv6 address has no closing bracket");
    origin.host = authority.substr(1, close - 1);
    std::string_view rest = authority.substr(close + 1);
    has_port = !rest.empty();
    if (has_port && rest[0] != ':') return Invalid("something other than a port follows its host");
    if (has_port) port = rest.substr(1);
    in6_addr v6{};
    if (inet_pton(AF_INET6, origin.host.c_str(), &v6) != 1)
      return Invalid("its IPv6 address is not one");
  } else {
    std::size_t colon = authority.find(':');
    has_port = colon != std::string_view::npos;
    origin.host = authority.substr(0, colon);
    if (has_port) port = authority.substr(colon + 1);
    std::transform(origin.host.begin(), origin.host.end(), origin.host.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    if (!IsHostName(origin.host)) return Invalid("it has no usable host name");
  }
  origin.port = origin.scheme == OriginUrl::Scheme::kHttps ? 443 : 80;
  if (has_port) {
    unsigned value = 0;
    auto [end, err] = std::from_chars(port.data(), port.data() + port.size(), value);
    if (err != std::errc() || end != port.data() + port.size() || value == 0 || value > 65535)
      return Invalid("its port is not a number from 1 to 65535");
    origin.port = static_cast<std::uint16_t>(value);
  }
  origin.loopback = IsLoopback(origin.host);
  if (origin.scheme == OriginUrl::Scheme::kHttp && !origin.loopback)
    return Error{.kind = ErrorKind::kInvalid,
                 .code = "plane.url_plain_http",
                 .message = "plain http is used towards loopback only, and " + origin.host +
                            " is not loopback",
                 .hint = "use https://, with --plane-ca for a private certificate"};
  return origin;
}

}  // namespace writ::runner
