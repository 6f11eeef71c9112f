// StatusServer: a few GETs on loopback or a Unix socket, and nothing else.
//
// One thread, at most kMaxClients connections, each of which has two seconds for one short request
// and its answer. What is not plainly a GET of HTTP/1.x is refused and the connection closed; on
// TCP the Host must name this machine's loopback, so that no web page can read along.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::status {

struct StatusAnswer {
  int code = 200;
  std::string type = "text/plain; charset=utf-8";
  std::string body;
};

enum class StatusReach { kUnixSocket, kLoopback };
struct StatusListener {
  UniqueFd fd;
  StatusReach reach = StatusReach::kUnixSocket;
};
// "127.0.0.1:9464", "[::1]:9464" or "unix:/run/writ/metrics.sock". kInvalid "status.address" for
// anything else: other interfaces are not served.
Status CheckStatusAddress(const std::string& address);
// Listens. A Unix socket that nobody serves any more is replaced; kConflict "status.in_use".
Result<StatusListener> ListenForStatus(const std::string& address);
// A Unix socket at `path`, born with `mode`; `shown` names it in errors.
Result<StatusListener> ListenAtSocket(const std::string& path, mode_t mode,
                                      const std::string& shown);

class StatusServer {
 public:
  static constexpr std::size_t kMaxClients = 16;
  static constexpr std::size_t kMaxHead = 8 * 1024;
  // Called from the server's thread with the path; code 404 for what is not there.
  using Handler = std::function<StatusAnswer(std::string_view path)>;

  static Result<std::unique_ptr<StatusServer>> Start(std::vector<StatusListener> listeners,
                                                     Handler handler);
  ~StatusServer();
  StatusServer(const StatusServer&) = delete;
  StatusServer& operator=(const StatusServer&) = delete;

 private:
  struct Client;
  StatusServer() = default;
  void Serve();
  StatusAnswer Answer(std::string_view head, StatusReach reach) const;
  std::vector<StatusListener> listeners_;
  Handler handler_;
  UniqueFd stop_;
  std::thread thread_;
};

}  // namespace writ::status
