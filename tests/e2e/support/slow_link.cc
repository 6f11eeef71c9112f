#include "e2e/support/slow_link.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "writ/base/file.h"

namespace writ::test {
namespace {

sockaddr_in Loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// One whole message with a Content-Length; empty where the stream ends first.
std::string ReadMessage(int fd, int ended) {
  std::string bytes;
  for (;;) {
    if (std::size_t head = bytes.find("\r\n\r\n"); head != std::string::npos) {
      std::size_t length = 0;
      if (std::size_t at = bytes.find("Content-Length: "); at < head)
        length = std::strtoull(bytes.c_str() + at + 16, nullptr, 10);
      if (bytes.size() >= head + 4 + length) return bytes;
    }
    pollfd ready[] = {{fd, POLLIN, 0}, {ended, POLLIN, 0}};
    char piece[16384];
    if (poll(ready, 2, -1) < 0 || ready[1].revents != 0) return {};
    ssize_t got = read(fd, piece, sizeof piece);
    if (got <= 0) return {};
    bytes.append(piece, static_cast<std::size_t>(got));
  }
}

}  // namespace

SlowLink::SlowLink(const std::string& plane_url, PaceOf pace_of)
    : pace_of_(std::move(pace_of)),
      plane_port_(
          static_cast<std::uint16_t>(std::stoi(plane_url.substr(plane_url.rfind(':') + 1)))),
      listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)),
      ended_(eventfd(0, EFD_CLOEXEC)) {
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof address;
  if (bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      listen(listener_.get(), 16) != 0 ||
      getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
    std::abort();
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { Accept(); });
}

SlowLink::~SlowLink() {
  eventfd_write(ended_.get(), 1);
  acceptor_.join();
  for (std::thread& relay : relays_) relay.join();
}

void SlowLink::Accept() {
  for (;;) {
    pollfd ready[] = {{listener_.get(), POLLIN, 0}, {ended_.get(), POLLIN, 0}};
    if (poll(ready, 2, -1) < 0 || ready[1].revents != 0) return;
    UniqueFd client(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!client) continue;
    std::lock_guard lock(mutex_);
    relays_.emplace_back([this, fd = std::move(client)]() mutable { Relay(std::move(fd)); });
  }
}

void SlowLink::Relay(UniqueFd client) {
  UniqueFd plane(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = Loopback(plane_port_);
  if (connect(plane.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return;
  for (;;) {
    std::string request = ReadMessage(client.get(), ended_.get());
    if (request.empty() || !WriteAll(plane.get(), request)) return;
    std::string answer = ReadMessage(plane.get(), ended_.get());
    if (answer.empty()) return;
    if (!Send(client.get(), answer, pace_of_(request.substr(0, request.find("\r\n"))))) return;
  }
}

bool SlowLink::Send(int client, std::string_view answer, const Pace& pace) const {
  while (!answer.empty()) {
    std::string_view piece = pace.piece == 0 ? answer : answer.substr(0, pace.piece);
    if (send(client, piece.data(), piece.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(piece.size()))
      return false;
    answer.remove_prefix(piece.size());
    if (answer.empty()) return true;
    pollfd ready[] = {{client, POLLRDHUP, 0}, {ended_.get(), POLLIN, 0}};
    if (poll(ready, 2, static_cast<int>(pace.pause.count())) != 0) return false;
  }
  return true;
}

}  // namespace writ::test
