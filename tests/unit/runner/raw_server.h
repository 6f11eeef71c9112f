// RawServer: answers each connection with what the test says, byte for byte, over plain TCP or TLS
// on loopback.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace writ::test {

class RawServer {
 public:
  // One connection: `request` is the head and body that came. Send by `write`; returning closes.
  struct Connection {
    std::string request;
    std::function<bool(std::string_view)> write;  // false once the client has gone
  };
  using Handler = std::function<void(Connection&)>;
  enum class Security { kPlain, kTls };

  RawServer(Security security, Handler handler);
  ~RawServer();
  std::uint16_t port() const { return port_; }
  std::string url() const;
  int connections() const { return connections_; }
  // TLS: a self-signed certificate for 127.0.0.1 made at construction.
  const std::string& certificate_pem() const { return certificate_pem_; }
  const std::string& pin() const { return pin_; }  // "sha256//..."

 private:
  struct Tls;
  void Serve();
  Security security_;
  Handler handler_;
  Tls* tls_ = nullptr;
  std::string certificate_pem_;
  std::string pin_;
  int listener_ = -1;
  std::uint16_t port_ = 0;
  std::atomic<int> connections_{0};
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

// "HTTP/1.1 200 OK" with these members and a JSON body.
std::string JsonAnswer(int status, std::string_view body);

}  // namespace writ::test
