// Connection: the requests of one client, one after the other, until it goes.
//
// Reads and judges each head itself (request_head.h), then lets cpp-httplib read the body and write
// the answer. The only user of cpp-httplib is connection.cc.
#pragma once

#include <atomic>
#include <memory>

#include "http/router.h"
#include "http/socket.h"

namespace writ::plane::http {

struct ConnectionLimits {
  std::size_t max_head_bytes = 32 << 10;
  std::size_t max_headers = 64;
  std::chrono::milliseconds idle{60'000};  // between requests
  std::chrono::milliseconds head{10'000};  // from the first byte of a head to its end
  std::chrono::milliseconds io{30'000};    // for each piece of a body or an answer
};

// What all connections share: the library's message code around the router.
class MessageEngine {
 public:
  MessageEngine(Router& router, const Clock& clock);
  ~MessageEngine();
  // Serves until the client closes, an error, or `stopping`.
  void Serve(Socket& socket, const PeerAddress& peer, const ConnectionLimits& limits,
             const std::atomic<bool>& stopping);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace writ::plane::http
