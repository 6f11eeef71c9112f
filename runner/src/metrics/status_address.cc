// A runner's own status socket: made, and asked, in its state directory.
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>

#include "metrics/state_socket.h"
#include "writ/base/paths.h"
#include "writ/base/unix_socket.h"
#include "writ/runner/status.h"

namespace writ::runner {
namespace {

constexpr const char* kSocketName = "status.sock";
constexpr std::uint64_t kMostStatus = 4 << 20;
constexpr int kAskLimitMs = 5'000;

}  // namespace

Status CheckStatusAddress(const std::string& address) {
  return status::CheckStatusAddress(address);
}

Result<status::StatusListener> ListenInStateDir(int dir) {
  return status::ListenAtSocket(SocketPathIn(dir, kSocketName), 0600, "the state directory");
}

Result<json::Value> ReadRunnerStatus(const std::string& state_dir) {
  const Error nobody{.kind = ErrorKind::kNotFound,
                     .code = "status.no_runner",
                     .message = "no runner is at work in " + state_dir,
                     .hint = "writ runner start"};
  Result<UniqueFd> dir = OpenDirectory(state_dir);
  if (!dir) return nobody;
  auto connected = ConnectToUnixPath(SocketPathIn(dir->get(), kSocketName));
  if (!connected) {
    if (connected.error().sys_errno == EACCES)
      return SysError(EACCES, "status.ask", "the runner's status is for its own user only");
    return nobody;
  }
  const UniqueFd fd = std::move(*connected);
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
