// Resolver: names to addresses by getaddrinfo, on threads of its own.
//
// getaddrinfo, because it answers as every other program of the host would (nsswitch, hosts,
// resolv.conf, search of the stub resolver) and adds no second DNS parser to this process. It
// blocks and cannot be cancelled, hence the threads and the deadline: a lookup that is late is
// given up, its thread comes back when libc lets go. The threads start before the system call
// filter, which allows no new ones.
#pragma once

#include <asio/awaitable.hpp>
#include <asio/io_context.hpp>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "writ/egress/address.h"

namespace writ::egress {

class Resolver {
 public:
  explicit Resolver(asio::io_context& io);
  // Never destroyed while the process lives: its threads may sit in libc.

  struct Answer {
    enum class Status { kFound, kFailed, kLate, kBusy };
    Status status = Status::kFailed;
    std::vector<IpAddress> addresses;  // each once, in RFC 6724 order
  };
  // Loop thread only.
  asio::awaitable<Answer> Resolve(std::string name, std::chrono::milliseconds deadline);

 private:
  struct Lookup;
  void Work();
  asio::io_context& io_;
  std::mutex mutex_;  // guards waiting_
  std::condition_variable wake_;
  std::deque<std::shared_ptr<Lookup>> waiting_;
  std::vector<std::thread> threads_;
};

}  // namespace writ::egress
