#include "writ/base/status/status_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <optional>

#include "writ/base/log.h"

namespace writ::status {

using std::chrono::steady_clock;

namespace {

constexpr std::chrono::milliseconds kPatience{2'000};

std::string_view Reason(int code) {
  switch (code) {
    case 200:
      return "OK";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 503:
      return "Service Unavailable";
    default:
      return "Bad Request";
  }
}

std::string Wire(const StatusAnswer& answer) {
  return "HTTP/1.1 " + std::to_string(answer.code) + " " + std::string(Reason(answer.code)) +
         "\r\nContent-Type: " + answer.type +
         "\r\nContent-Length: " + std::to_string(answer.body.size()) +
         "\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close"
         "\r\n\r\n" +
         answer.body;
}

StatusAnswer Bad(int code, std::string why) {
  return {.code = code, .body = std::move(why) + "\n"};
}

std::string Lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

bool IsLoopbackName(std::string host) {
  if (std::size_t colon = host.rfind(':');
      colon != std::string::npos &&
      host.find_first_not_of("0123456789", colon + 1) == std::string::npos && host.back() != ']')
    host.resize(colon);
  return host == "localhost" || host == "127.0.0.1" || host == "[::1]";
}

}  // namespace

struct StatusServer::Client {
  UniqueFd fd;
  StatusReach reach;
  steady_clock::time_point give_up;
  std::string in, out;
};

StatusAnswer StatusServer::Answer(std::string_view head, StatusReach reach) const {
  std::optional<std::string> host;
  std::string_view line = head.substr(0, head.find("\r\n"));
  std::string_view rest = head.substr(line.size() + 2);
  while (!rest.empty() && rest != "\r\n") {
    std::string_view header = rest.substr(0, rest.find("\r\n"));
    rest.remove_prefix(header.size() + 2);
    const std::size_t colon = header.find(':');
    if (colon == std::string_view::npos || colon == 0 || header.find_first_of(" \t\n\r") < colon ||
        header.find('\n') != std::string_view::npos)
      return Bad(400, "this is no header");
    const std::string name = Lower(header.substr(0, colon));
    std::string_view value = header.substr(colon + 1);
    while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
    if (name == "content-length" && value != "0") return Bad(400, "no body is taken");
    if (name == "transfer-encoding") return Bad(400, "no body is taken");
    if (name != "host") continue;
    if (host) return Bad(400, "two Host headers");
    host = Lower(value);
  }
  const std::size_t first = line.find(' '), last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return Bad(400, "this is no request");
  const std::string_view version = line.substr(last + 1);
  if (version != "HTTP/1.1" && version != "HTTP/1.0") return Bad(400, "this is not HTTP/1");
  const std::string_view path = line.substr(first + 1, last - first - 1);
  if (path.empty() || path[0] != '/' || path.find_first_of(" \t\n") != std::string_view::npos)
    return Bad(400, "this is no path");
  if (reach == StatusReach::kLoopback && (!host || !IsLoopbackName(*host)))
    return Bad(400, "the Host header does not name this machine's loopback");
  if (line.substr(0, first) != "GET") return Bad(405, "only GET is served");
  return handler_(path);
}

Result<std::unique_ptr<StatusServer>> StatusServer::Start(std::vector<StatusListener> listeners,
                                                          Handler handler) {
  std::unique_ptr<StatusServer> server(new StatusServer);
  server->listeners_ = std::move(listeners);
  server->handler_ = std::move(handler);
  server->stop_ = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!server->stop_) return SysError(errno, "status.start", "could not make an eventfd");
  server->thread_ = std::thread([raw = server.get()] { raw->Serve(); });
  return server;
}

StatusServer::~StatusServer() {
  if (!thread_.joinable()) return;
  (void)eventfd_write(stop_.get(), 1);
  thread_.join();
}

void StatusServer::Serve() {
  std::vector<Client> clients;
  for (;;) {
    std::vector<pollfd> fds{{stop_.get(), POLLIN, 0}};
    for (const StatusListener& listener : listeners_)
      fds.push_back({clients.size() < kMaxClients ? listener.fd.get() : -1, POLLIN, 0});
    for (const Client& client : clients)
      fds.push_back(
          {client.fd.get(), static_cast<short>(client.out.empty() ? POLLIN : POLLOUT), 0});
    int wait = -1;
    const auto now = steady_clock::now();
    for (const Client& client : clients) {
      auto left = std::chrono::ceil<std::chrono::milliseconds>(client.give_up - now).count();
      left = std::max<std::int64_t>(left, 0);
      if (wait < 0 || left < wait) wait = static_cast<int>(left);
    }
    if (poll(fds.data(), fds.size(), wait) < 0 && errno != EINTR) {
      log::Error("status.stopped", "the status server ended: poll failed");
      return;
    }
    if (fds[0].revents != 0) return;
    const std::size_t base = 1 + listeners_.size();
    for (std::size_t i = 0; i < clients.size(); ++i) {
      Client& client = clients[i];
      bool over = steady_clock::now() >= client.give_up;
      if (!over && fds[base + i].revents != 0 && client.out.empty()) {
        char piece[2048];
        ssize_t n = recv(client.fd.get(), piece, sizeof piece, MSG_DONTWAIT);
        if (n > 0) {
          client.in.append(piece, static_cast<std::size_t>(n));
          const std::size_t end = client.in.find("\r\n\r\n");
          if (end != std::string::npos) {
            client.out = Wire(Answer(std::string_view(client.in).substr(0, end + 4), client.reach));
          } else if (client.in.size() > kMaxHead) {
            client.out = Wire(Bad(400, "the request is too long"));
          }
        } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
          over = true;
        }
      } else if (!over && fds[base + i].revents != 0) {
        ssize_t n = send(client.fd.get(), client.out.data(), client.out.size(),
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) client.out.erase(0, static_cast<std::size_t>(n));
        over = client.out.empty() || (n < 0 && errno != EAGAIN && errno != EINTR);
      }
      if (over) client.fd.reset();
    }
    std::erase_if(clients, [](const Client& client) { return !client.fd.valid(); });
    for (std::size_t i = 0; i < listeners_.size(); ++i) {
      if (fds[1 + i].revents == 0) continue;
      UniqueFd fd(accept4(listeners_[i].fd.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (fd && clients.size() < kMaxClients)
        clients.push_back(
            {std::move(fd), listeners_[i].reach, steady_clock::now() + kPatience, "", ""});
    }
  }
}

}  // namespace writ::status
