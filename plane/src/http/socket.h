// One accepted connection: bytes in and out with deadlines, plain or TLS. Not thread-safe, but
// Shutdown may be called from another thread.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "writ/base/result.h"
#include "writ/base/unique_fd.h"
#include "writ/plane/http_server.h"

namespace writ::plane::http {

// The server's certificate, key and client CA, loaded once.
class TlsContext {
 public:
  // TLS 1.2 or later. kInvalid "plane.tls" for files that are not a matching pair.
  static Result<TlsContext> Load(const TlsFiles& files);
  TlsContext(TlsContext&&) noexcept;
  ~TlsContext();
  void* get() const { return context_; }  // SSL_CTX

 private:
  explicit TlsContext(void* context) : context_(context) {}
  void* context_;
};

class Socket {
 public:
  virtual ~Socket() = default;
  // Bytes read, 0 at the end, -1 for an error or when `timeout` has passed.
  virtual ssize_t Read(char* out, std::size_t size, std::chrono::milliseconds timeout) = 0;
  virtual bool Write(std::string_view bytes, std::chrono::milliseconds timeout) = 0;
  // True once the peer has closed its side or the connection broke. Never blocks, reads nothing.
  virtual bool PeerGone() const = 0;
  // Says that nothing more comes, and swallows what the peer still sends, so that it can read the
  // answer.
  virtual void Linger(std::chrono::milliseconds limit) = 0;

  static std::unique_ptr<Socket> Plain(UniqueFd fd);
  // Shakes hands; nullptr where that fails.
  static std::unique_ptr<Socket> Tls(UniqueFd fd, const TlsContext& context,
                                     std::chrono::milliseconds timeout);
};

struct Listener {
  UniqueFd fd;
  std::uint16_t port = 0;
  std::string host;  // numeric, in brackets where IPv6
  bool loopback = false;
};
enum class PlainHttp { kOnLoopbackOnly, kNotUsed };
// kDenied "plane.plain_http", kUnavailable "plane.bind", kInvalid "plane.host".
// What Listen refuses of an address before it binds.
Status CheckHost(const std::string& host, PlainHttp plain);
Result<Listener> Listen(const std::string& host, std::uint16_t port, PlainHttp plain);

struct PeerAddress {
  std::string text;
  // What limits count as one peer: an IPv4 address; of IPv6 the /64, which one host can use whole.
  std::string group;
  bool loopback = false;
};
PeerAddress PeerOf(int fd);

}  // namespace writ::plane::http
