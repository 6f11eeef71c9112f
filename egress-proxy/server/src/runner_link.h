// RunnerLink: the proxy's end of the control socket.
//
// Events are numbered and sent in order. Emit() returns when the kernel has the message, so what
// comes after it in a coroutine happens after the runner can know of it; a full socket holds its
// callers up (back-pressure), nothing is dropped. Loop thread only.
#pragma once

#include <asio/awaitable.hpp>
#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/steady_timer.hpp>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "writ/base/unique_fd.h"
#include "writ/egress/control_message.h"

namespace writ::egress {

class RunnerLink {
 public:
  RunnerLink(asio::io_context& io, UniqueFd socket, std::function<void()> on_runner_gone);

  // Sets the event's number; counts it in `counters.events`.
  asio::awaitable<void> Emit(DecisionEvent event, Counters& counters);
  asio::awaitable<void> Emit(FlowEvent event, Counters& counters);
  asio::awaitable<void> Emit(RefusalEvent event, Counters& counters);
  asio::awaitable<void> Send(ProxyMessage message);

  struct Incoming {
    RunnerMessage message;
    std::vector<UniqueFd> fds;
  };
  // nullopt: the runner is gone, or talks nonsense.
  asio::awaitable<std::optional<Incoming>> Receive();

 private:
  template <typename Event>
  asio::awaitable<void> EmitNumbered(Event event, Counters& counters);
  // True: sent. False: the socket is full.
  bool TrySend(const std::string& bytes);
  asio::awaitable<void> Drain();

  asio::io_context& io_;
  asio::posix::stream_descriptor socket_;
  std::function<void()> on_runner_gone_;
  std::uint64_t next_seq_ = 0;
  std::deque<std::string>
      queue_;  // not yet taken by the kernel; bounded by the number of connections
  std::uint64_t queued_ = 0;
  std::uint64_t sent_ = 0;       // of those queued
  asio::steady_timer progress_;  // cancelled whenever sent_ grows
  bool draining_ = false;
};

}  // namespace writ::egress
