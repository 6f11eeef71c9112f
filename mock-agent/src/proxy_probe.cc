#include "proxy_probe.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>

#include "writ/base/encoding.h"
#include "writ/base/file.h"
#include "writ/base/unique_fd.h"

namespace writ::mock {
namespace {

constexpr char kUnreachable[] = "unreachable";
constexpr timeval kPatience{10, 0};

std::string PercentDecode(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      if (auto byte = HexDecode(text.substr(i + 1, 2))) {
        out += *byte;
        i += 2;
        continue;
      }
    }
    out += text[i];
  }
  return out;
}

// The three digits of "HTTP/1.1 403 Forbidden".
std::string StatusOf(std::string_view answer) {
  if (answer.substr(0, 7) != "HTTP/1." || answer.size() < 12) return kUnreachable;
  return std::string(answer.substr(9, 3));
}

}  // namespace

std::optional<ProxyUrl> ParseProxyUrl(std::string_view url) {
  constexpr std::string_view kScheme = "http://";
  if (url.substr(0, kScheme.size()) != kScheme) return std::nullopt;
  url.remove_prefix(kScheme.size());
  url = url.substr(0, url.find('/'));
  ProxyUrl proxy;
  if (auto at = url.rfind('@'); at != std::string_view::npos) {
    proxy.user_info = PercentDecode(url.substr(0, at));
    url.remove_prefix(at + 1);
  }
  auto colon = url.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view port = url.substr(colon + 1);
  auto [end, err] = std::from_chars(port.data(), port.data() + port.size(), proxy.port);
  if (err != std::errc() || end != port.data() + port.size() || proxy.port == 0)
    return std::nullopt;
  proxy.host = url.substr(0, colon);
  return proxy;
}

std::string ProbeThroughProxy() {
  const char* variable = std::getenv("HTTP_PROXY");
  if (variable == nullptr) variable = std::getenv("http_proxy");
  auto proxy = ParseProxyUrl(variable == nullptr ? "" : variable);
  if (!proxy) return kUnreachable;
  const char* wanted = std::getenv("MOCK_PROBE_HOST");
  const std::string host = wanted != nullptr && *wanted != '\0' ? wanted : "denied.example.com";

  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(proxy->port);
  if (::inet_pton(AF_INET, proxy->host.c_str(), &address.sin_addr) != 1) return kUnreachable;
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return kUnreachable;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof kPatience);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return kUnreachable;
  std::string request =
      "GET http://" + host + "/probe HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n";
  if (!proxy->user_info.empty())
    request += "Proxy-Authorization: Basic " + Base64Encode(proxy->user_info) + "\r\n";
  if (!WriteAll(socket.get(), request + "\r\n")) return kUnreachable;
  std::string answer;
  char buffer[512];
  while (answer.size() < 12) {
    ssize_t n = ::read(socket.get(), buffer, sizeof buffer);
    if (n <= 0) break;
    answer.append(buffer, static_cast<std::size_t>(n));
  }
  return StatusOf(answer);
}

}  // namespace writ::mock
