// HttpServer: the HTTP API of a Plane (protocol.md section 4 and the extensions of section 5).
//
// Own threads: one that accepts, one per connection up to the configured limit, one that sweeps,
// one that watches the leases, and one for the numbers where they are served. cpp-httplib writes
// and reads the messages; sockets, TLS and limits are ours, since its defaults are open. Plain http
// only on loopback addresses: without TLS any other bind is refused.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "writ/base/result.h"
#include "writ/plane/plane.h"

namespace writ::plane {

struct TlsFiles {
  std::string certificate;  // PEM chain
  std::string key;          // PEM
  std::string client_ca;    // PEM; not empty: every client needs a certificate of this CA
};

struct HttpServerOptions {
  std::string host =
      "127.0.0.1";         // an address or a name; one socket per address family is not made
  std::uint16_t port = 0;  // 0: an ephemeral one
  std::optional<TlsFiles> tls;
  // Where GET /healthz, /readyz and /metrics are served, apart from the API: 127.0.0.1:PORT,
  // [::1]:PORT or unix:/PATH; empty: nowhere. Nothing there is secret.
  std::string metrics = {};
};

class HttpServer {
 public:
  // Binds and serves before it returns. `plane` is borrowed and outlives the server.
  // kDenied "plane.plain_http" for a bind off loopback without TLS; kUnavailable where the port is
  // taken.
  static Result<std::unique_ptr<HttpServer>> Start(Plane& plane, const Clock& clock,
                                                   HttpServerOptions options);
  ~HttpServer();  // Stop

  std::uint16_t port() const;
  const std::string& url() const;  // "http://127.0.0.1:PORT", "https://..."
  // Whether connections are being accepted and leases kept: asked of the loops themselves, which
  // have `patience` to answer. kUnavailable "plane.stuck".
  Status Alive(std::chrono::milliseconds patience = std::chrono::seconds(5)) const;

  // Stops accepting, wakes long polls, lets requests in progress end (within `grace`), joins every
  // thread.
  void Stop(std::chrono::milliseconds grace = std::chrono::seconds(5));

 private:
  struct Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace writ::plane
