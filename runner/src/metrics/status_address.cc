// A runner's own status socket: made, and asked, in its state directory.
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "metrics/state_socket.h"
#include "writ/base/paths.h"
#include "writ/runner/status.h"

namespace writ::runner {
namespace {

constexpr const char* kSocketName = "status.sock";
constexpr std::uint64_t kMostStatus = 4 << 20;
constexpr int kAskLimitMs = 5'000;

sockaddr_un UnixAddress(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

std::string InStateDir(int dir) {
  return "/proc/self/fd/" + std::to_string(dir) + "/" + kSocketName;
}

}  // namespace

Status CheckStatusAddress(const std::string& address) {
  return status::CheckStatusAddress(address);
}

Result<status::StatusListener> ListenInStateDir(int dir) {
  return status::ListenAtSocket(InStateDir(dir), 0600, "the state directory");
}

Result<json::Value> ReadRunnerStatus(const std::string& state_dir) {
  const Error nobody{.kind = ErrorKind::kNotFound,
                     .code = "status.no_runner",
                     .message = "no runner is at work in " + state_dir,
                     .hint = "writ runner start"};
  Result<UniqueFd> dir = OpenDirectory(state_dir);
  if (!dir) return nobody;
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return SysError(errno, "status.ask", "could not make a socket");
  const sockaddr_un address = UnixAddress(InStateDir(dir->get()));
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno == EACCES)
      return SysError(errno, "status.ask", "the runner's status is for its own user only");
    return nobody;
  }
  static constexpr std::string_view kAsk = "GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n";
  if (send(fd.get(), kAsk.data(), kAsk.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(kAsk.size()))
    return nobody;
  std::string answer;
  char piece[16 * 1024];
  for (;;) {
    pollfd waiting{fd.get(), POLLIN, 0};
    if (poll(&waiting, 1, kAskLimitMs) <= 0)
      return Error{.kind = ErrorKind::kUnavailable,
                   .code = "status.silent",
                   .message = "the runner in " + state_dir + " does not answer"};
    ssize_t n = recv(fd.get(), piece, sizeof piece, 0);
    if (n <= 0) break;
    answer.append(piece, static_cast<std::size_t>(n));
    if (answer.size() > kMostStatus) break;
  }
  const std::size_t body = answer.find("\r\n\r\n");
  if (!answer.starts_with("HTTP/1.1 200 ") || body == std::string::npos)
    return Error{.kind = ErrorKind::kUnavailable,
                 .code = "status.nonsense",
                 .message = "the runner in " + state_dir + " gave no status"};
  return json::Parse(std::string_view(answer).substr(body + 4), {.max_bytes = kMostStatus});
}

}  // namespace writ::runner
