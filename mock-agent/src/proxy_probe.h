// One GET of http://HOST/probe through the proxy of HTTP_PROXY.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace writ::mock {

struct ProxyUrl {
  std::string host;  // IPv4 literal
  std::uint16_t port = 0;
  std::string user_info;  // percent-decoded "user:password"; empty where there is none
};
// "http://[user[:password]@]127.0.0.1:port[/]"; nullopt for anything else.
std::optional<ProxyUrl> ParseProxyUrl(std::string_view url);

// The status code as text, or "unreachable" where there is no answer. HOST is MOCK_PROBE_HOST, else
// denied.example.com.
std::string ProbeThroughProxy();

}  // namespace writ::mock
