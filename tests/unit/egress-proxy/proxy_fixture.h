// The real proxy executable with loopback upstreams in the test's own process.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "writ/base/unique_fd.h"
#include "writ/egress/proxy_process.h"

namespace writ::egress::test {

struct BoundListener {
  UniqueFd fd;
  std::uint16_t port = 0;
};
BoundListener ListenOnLoopback(int backlog = 512);

// A blocking client socket; every read gives up after 20 s.
UniqueFd ConnectTo(std::uint16_t port);
void SendAll(int fd, std::string_view bytes);
std::string ReadUntilEof(int fd);
// Up to and including the first empty line; empty at end of stream.
std::string ReadHead(int fd);
std::string ReadExactly(int fd, std::size_t bytes);
int StatusOf(std::string_view head);  // 0 where it is no status line
std::string HeaderOf(std::string_view head, std::string_view name);

// A TLS ClientHello record; no server name where `sni` is empty.
std::string MakeClientHello(std::string_view sni, bool encrypted_hello = false);

// Accepts on loopback and serves each connection on a thread of its own.
class Upstream {
 public:
  explicit Upstream(std::function<void(int fd)> serve);
  ~Upstream();
  std::uint16_t port() const { return port_; }
  int connections() const { return connections_; }

 private:
  UniqueFd listener_;
  UniqueFd wake_read_;
  UniqueFd wake_write_;
  std::uint16_t port_ = 0;
  std::atomic<int> connections_ = 0;
  std::function<void(int)> serve_;
  std::mutex mutex_;  // guards workers_ and open_
  std::vector<std::thread> workers_;
  std::vector<int> open_;
  std::thread thread_;
};
// Reads one request head and answers with these bytes.
std::function<void(int)> AnswerWith(std::string response);
std::function<void(int)> Echo();

Rule Allow(std::string id, std::string_view host, std::optional<std::uint16_t> port = std::nullopt);

// A running proxy with one listener and a record of its events.
Result<std::unique_ptr<ProxyProcess>> StartProxy(const ProxyConfig& config,
                                                 ProxyProcess::Sink sink);

class Proxy {
 public:
  // allowed.example.com is 127.0.0.1 by override, and 127.0.0.0/8 is granted.
  static ProxyConfig LoopbackConfig();
  static ProxyStart StartOptions();

  explicit Proxy(ProxyConfig config, ListenerReach reach = ListenerReach::kPrivate);
  ~Proxy();
  std::uint16_t port() const { return port_; }
  ProxyProcess& process() { return *process_; }
  UniqueFd Connect() { return ConnectTo(port_); }
  // One request on a connection of its own, everything that comes back.
  std::string RoundTrip(std::string_view request);
  // CONNECT and the head of its answer.
  std::pair<UniqueFd, std::string> Tunnel(const std::string& authority);

  template <typename Event>
  std::vector<Event> Seen() {
    std::lock_guard lock(mutex_);
    std::vector<Event> out;
    for (const ProxyEvent& event : events_)
      if (const auto* match = std::get_if<Event>(&event)) out.push_back(*match);
    return out;
  }
  // Waits until the events satisfy `enough`.
  bool WaitFor(const std::function<bool(const std::vector<ProxyEvent>&)>& enough);
  ClosingReport Stop();

 private:
  std::mutex mutex_;  // guards events_
  std::condition_variable changed_;
  std::vector<ProxyEvent> events_;
  std::unique_ptr<ProxyProcess> process_;
  std::uint16_t port_ = 0;
};

}  // namespace writ::egress::test
