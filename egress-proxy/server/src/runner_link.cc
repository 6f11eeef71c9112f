#include "runner_link.h"

#include <sys/socket.h>

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/redirect_error.hpp>
#include <asio/use_awaitable.hpp>
#include <cerrno>

namespace writ::egress {
namespace {
constexpr std::uint64_t kSnapshotEvery = 64;
}

RunnerLink::RunnerLink(asio::io_context& io, UniqueFd socket, std::function<void()> on_runner_gone)
    : io_(io),
      socket_(io, socket.release()),
      on_runner_gone_(std::move(on_runner_gone)),
      progress_(io, asio::steady_timer::time_point::max()) {}

bool RunnerLink::TrySend(const std::string& bytes) {
  for (;;) {
    ssize_t n =
        ::send(socket_.native_handle(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n >= 0) return true;
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS) return false;
    on_runner_gone_();
    return true;  // nobody is left to tell
  }
}

asio::awaitable<void> RunnerLink::Drain() {
  while (!queue_.empty()) {
    asio::error_code error;
    co_await socket_.async_wait(asio::posix::descriptor_base::wait_write,
                                asio::redirect_error(asio::use_awaitable, error));
    if (error) break;
    while (!queue_.empty() && TrySend(queue_.front())) {
      queue_.pop_front();
      ++sent_;
    }
    progress_.cancel();
  }
  draining_ = false;
}

asio::awaitable<void> RunnerLink::Send(ProxyMessage message) {
  std::string bytes = Encode(message);
  if (queue_.empty() && TrySend(bytes)) co_return;
  queue_.push_back(std::move(bytes));
  std::uint64_t mine = ++queued_;
  if (!draining_) {
    draining_ = true;
    asio::co_spawn(io_, Drain(), asio::detached);
  }
  while (sent_ < mine) {
    asio::error_code ignored;
    co_await progress_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
}

template <typename Event>
asio::awaitable<void> RunnerLink::EmitNumbered(Event event, Counters& counters) {
  event.seq = next_seq_++;
  ++counters.events;
  bool snapshot = counters.events % kSnapshotEvery == 0;
  // Named: g++ 12 destroys aggregate temporaries of a co_await expression twice.
  ProxyMessage message = std::move(event);
  co_await Send(std::move(message));
  if (!snapshot) co_return;
  ProxyMessage counted = CountersMessage{counters};
  co_await Send(std::move(counted));
}

asio::awaitable<void> RunnerLink::Emit(DecisionEvent event, Counters& counters) {
  return EmitNumbered(std::move(event), counters);
}
asio::awaitable<void> RunnerLink::Emit(FlowEvent event, Counters& counters) {
  return EmitNumbered(std::move(event), counters);
}
asio::awaitable<void> RunnerLink::Emit(RefusalEvent event, Counters& counters) {
  return EmitNumbered(std::move(event), counters);
}

asio::awaitable<std::optional<RunnerLink::Incoming>> RunnerLink::Receive() {
  asio::error_code error;
  co_await socket_.async_wait(asio::posix::descriptor_base::wait_read,
                              asio::redirect_error(asio::use_awaitable, error));
  if (error) co_return std::nullopt;
  auto received = ReceiveWithFds(socket_.native_handle(), kMaxControlMessage);
  if (!received || received->bytes.empty()) co_return std::nullopt;
  auto message = DecodeRunnerMessage(received->bytes);
  if (!message) co_return std::nullopt;
  co_return Incoming{std::move(*message), std::move(received->fds)};
}

}  // namespace writ::egress
