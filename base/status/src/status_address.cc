// Where a program's status may be served: this machine's loopback, and Unix sockets.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <charconv>

#include "writ/base/status/status_server.h"
#include "writ/base/unix_socket.h"

namespace writ::status {
namespace {

struct Parsed {
  StatusReach reach = StatusReach::kUnixSocket;
  std::string path;
  sockaddr_storage address{};
  socklen_t size = 0;
};

Result<Parsed> ParseAddress(const std::string& text) {
  const Error wrong{.kind = ErrorKind::kInvalid,
                    .code = "status.address",
                    .message = "the status cannot be served there: " + text,
                    .hint = "127.0.0.1:PORT, [::1]:PORT or unix:/ABSOLUTE/PATH"};
  Parsed out;
  if (text.starts_with("unix:/")) {
    out.path = text.substr(5);
    sockaddr_un address{};
    if (out.path.size() >= sizeof address.sun_path || out.path.find('\0') != std::string::npos)
      return wrong;
    return out;
  }
  out.reach = StatusReach::kLoopback;
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos) return wrong;
  std::uint16_t port = 0;
  auto [end, problem] = std::from_chars(text.data() + colon + 1, text.data() + text.size(), port);
  if (problem != std::errc() || end != text.data() + text.size()) return wrong;
  const std::string host = text.substr(0, colon);
  if (host == "[::1]") {
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&out.address);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    v6->sin6_addr = in6addr_loopback;
    out.size = sizeof *v6;
    return out;
  }
  auto* v4 = reinterpret_cast<sockaddr_in*>(&out.address);
  v4->sin_family = AF_INET;
  v4->sin_port = htons(port);
  out.size = sizeof *v4;
  if (inet_pton(AF_INET, host.c_str(), &v4->sin_addr) != 1) return wrong;
  if ((ntohl(v4->sin_addr.s_addr) >> 24) != 127) return wrong;
  return out;
}

Error Cannot(int code, const std::string& what) {
  return SysError(code, code == EADDRINUSE ? "status.in_use" : "status.listen",
                  "the status cannot be served at " + what);
}

Result<UniqueFd> ListenUnix(const std::string& path, mode_t mode, const std::string& shown) {
  auto fd = ListenAtUnixPath(path, mode);
  if (!fd) return Cannot(fd.error().sys_errno, shown);
  return fd;
}

}  // namespace

Status CheckStatusAddress(const std::string& address) {
  WRIT_ASSIGN([[maybe_unused]] Parsed parsed, ParseAddress(address));
  return {};
}

Result<StatusListener> ListenForStatus(const std::string& address) {
  WRIT_ASSIGN(Parsed parsed, ParseAddress(address));
  StatusListener out;
  out.reach = parsed.reach;
  if (parsed.reach == StatusReach::kUnixSocket) {
    WRIT_ASSIGN(out.fd, ListenUnix(parsed.path, 0660, address));
    return out;
  }
  out.fd =
      UniqueFd(socket(parsed.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int on = 1;
  if (!out.fd || setsockopt(out.fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      bind(out.fd.get(), reinterpret_cast<const sockaddr*>(&parsed.address), parsed.size) != 0 ||
      listen(out.fd.get(), 16) != 0)
    return Cannot(errno, address);
  return out;
}

Result<StatusListener> ListenAtSocket(const std::string& path, mode_t mode,
                                      const std::string& shown) {
  StatusListener out;
  WRIT_ASSIGN(out.fd, ListenUnix(path, mode, shown));
  return out;
}

}  // namespace writ::status
