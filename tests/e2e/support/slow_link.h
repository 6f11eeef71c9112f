// SlowLink: a relay between a runner and its plane whose answers come in small pieces with pauses
// between them, so that every read sees something in time and the whole takes as long as it takes.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "writ/base/unique_fd.h"

namespace writ::test {

class SlowLink {
 public:
  struct Pace {
    std::size_t piece = 0;  // bytes; 0: the answer passes as it is
    std::chrono::milliseconds pause{0};
  };
  // Asked for every request, with its first line ("GET /v1/health HTTP/1.1"), from any thread.
  using PaceOf = std::function<Pace(const std::string& request_line)>;

  // `plane_url` is http://127.0.0.1:PORT.
  SlowLink(const std::string& plane_url, PaceOf pace_of);
  ~SlowLink();
  SlowLink(const SlowLink&) = delete;
  SlowLink& operator=(const SlowLink&) = delete;
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }

 private:
  void Accept();
  void Relay(UniqueFd client);
  // False once the link ends or the client has gone.
  bool Send(int client, std::string_view answer, const Pace& pace) const;
  PaceOf pace_of_;
  std::uint16_t plane_port_ = 0;
  std::uint16_t port_ = 0;
  UniqueFd listener_;
  UniqueFd ended_;    // an eventfd, readable once the link ends
  std::mutex mutex_;  // guards relays_
  std::vector<std::thread> relays_;
  std::thread acceptor_;
};

}  // namespace writ::test
