// From a target to a connected upstream: decide, resolve once, check every address, dial what was
// checked.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "connection.h"

namespace writ::egress {
namespace {

socklen_t ToSockaddr(const IpAddress& address, std::uint16_t port, sockaddr_storage& out) {
  out = {};
  if (address.family == IpAddress::Family::kV4) {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    std::memcpy(&v4.sin_addr, address.bytes.data(), 4);
    std::memcpy(&out, &v4, sizeof v4);
    return sizeof v4;
  }
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  std::memcpy(&v6.sin6_addr, address.bytes.data(), 16);
  std::memcpy(&out, &v6, sizeof v6);
  return sizeof v6;
}

// TCP's simultaneous open lets a socket connect to itself when the port is an ephemeral one of
// ours.
bool ConnectedToItself(int fd) {
  sockaddr_storage local{};
  sockaddr_storage peer{};
  socklen_t local_size = sizeof local;
  socklen_t peer_size = sizeof peer;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&local), &local_size) != 0 ||
      ::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &peer_size) != 0)
    return false;
  return local_size == peer_size && std::memcmp(&local, &peer, local_size) == 0;
}

std::vector<std::string> Texts(const std::vector<IpAddress>& addresses) {
  std::vector<std::string> out;
  for (const IpAddress& address : addresses) {
    if (out.size() == 32) break;  // an event is one datagram; all were checked
    out.push_back(address.ToString());
  }
  return out;
}

}  // namespace

asio::awaitable<void> Connection::Deny(const Decision& decision, std::string host,
                                       std::uint16_t port, const Asker& asker,
                                       std::vector<std::string> addresses) {
  ++session_.counters.denied;
  DecisionEvent event;
  event.protocol = asker.protocol;
  event.host = host;
  event.port = port;
  event.reason = decision.reason;
  event.rule_id = decision.rule_id;
  event.detail = decision.detail;
  event.addresses = std::move(addresses);
  co_await session_.link.Emit(std::move(event), session_.counters);
  std::string reply = asker.protocol == Protocol::kSocks
                          ? SocksReply(SocksStatus::kNotAllowed)
                          : DenialReply(decision, host, port, asker.shape);
  (void)co_await client_.Write(reply);
}

asio::awaitable<void> Connection::EndFlow(Flow& flow, std::string close_reason) {
  flow.event.close_reason = std::move(close_reason);
  auto lasted = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - flow.start);
  flow.event.duration_us =
      static_cast<std::uint64_t>(std::max<std::int64_t>(lasted.count(), 1));  // L17
  ++session_.counters.flows_closed;
  session_.counters.bytes_up += flow.event.bytes_up;
  session_.counters.bytes_down += flow.event.bytes_down;
  FlowEvent event = flow.event;
  co_await session_.link.Emit(std::move(event), session_.counters);
}

asio::awaitable<void> Connection::FailFlow(Flow& flow, const Asker& asker, int status,
                                           std::string close_reason) {
  ++session_.counters.upstream_failed;
  auto waited = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - flow.start);
  if (asker.protocol == Protocol::kSocks)
    client_.SendNow(SocksReply(status == 504                      ? SocksStatus::kExpired
                               : close_reason == "resolve-failed" ? SocksStatus::kHostUnreachable
                                                                  : SocksStatus::kRefused));
  else
    client_.SendNow(UpstreamFailureReply(status, close_reason, asker.method, flow.event.host,
                                         flow.event.port, waited,
                                         ReplyShape{AfterReply::kClose, asker.shape.body}));
  co_await EndFlow(flow, std::move(close_reason));
}

asio::awaitable<int> Connection::Connect(IpAddress address, std::uint16_t port) {
  sockaddr_storage to;
  socklen_t size = ToSockaddr(address, port, to);
  UniqueFd fd(::socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) co_return errno;
  int on = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  int result = ::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), size) == 0 ? 0 : errno;
  upstream_.emplace(session_.io, std::move(fd));
  if (client_.aborted()) upstream_->Abort();
  if (result == EINPROGRESS) {
    result = co_await upstream_->WaitWritable();
    if (result == 0) {
      socklen_t length = sizeof result;
      if (::getsockopt(upstream_->fd(), SOL_SOCKET, SO_ERROR, &result, &length) != 0)
        result = errno;
    }
  }
  if (result == 0 && ConnectedToItself(upstream_->fd())) result = ECONNREFUSED;
  if (result != 0) upstream_.reset();
  co_return result;
}

asio::awaitable<std::optional<Connection::Flow>> Connection::OpenFlow(Target target,
                                                                      const Asker& asker) {
  const std::string& host = target.host.text();
  Decision decision = DecideHost(session_.config.rules, target);
  if (!decision.allowed) {
    co_await Deny(decision, host, target.port, asker, {});
    co_return std::nullopt;
  }
  // Only an allowed name is ever resolved (L24), and once (L22).
  Resolver::Answer answer;
  auto override_entry = session_.overrides.find(host);
  if (target.host.is_literal()) {
    answer = {Resolver::Answer::Status::kFound, {*target.host.literal()}};
  } else if (override_entry != session_.overrides.end()) {
    answer = {Resolver::Answer::Status::kFound, override_entry->second};
  } else {
    StepDeadline(session_.config.limits.resolve + std::chrono::seconds(1));
    answer = co_await session_.resolver.Resolve(host, session_.config.limits.resolve);
  }
  bool found = answer.status == Resolver::Answer::Status::kFound;
  if (found) {
    decision = DecideAddresses(session_.config.rules, decision, target, answer.addresses);
    if (!decision.allowed) {
      co_await Deny(decision, host, target.port, asker, Texts(answer.addresses));
      co_return std::nullopt;
    }
  }
  Flow flow;
  flow.start = Clock::now();
  flow.protocol = target.protocol;
  flow.grants = decision.grants;
  flow.event.flow = session_.next_flow++;
  flow.event.host = host;
  flow.event.port = target.port;
  flow.event.rule_id = decision.rule_id;
  ++session_.counters.allowed;
  DecisionEvent event;
  event.flow = flow.event.flow;
  event.protocol = target.protocol;
  event.host = host;
  event.port = target.port;
  event.allowed = true;
  event.reason = Reason::kAllowed;
  event.rule_id = decision.rule_id;
  event.addresses = Texts(answer.addresses);
  co_await session_.link.Emit(std::move(event), session_.counters);

  if (!found) {
    bool late = answer.status == Resolver::Answer::Status::kLate;
    co_await FailFlow(flow, asker, late ? 504 : 502,
                      std::string(WhyEnded(late ? "resolve-timeout" : "resolve-failed")));
    co_return std::nullopt;
  }
  // One deadline over all addresses (L19); each gets its share of what is left.
  auto end = Clock::now() + session_.config.limits.connect;
  int error = ECONNREFUSED;
  for (std::size_t i = 0; i < answer.addresses.size() && abort_why_.empty(); ++i) {
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
    if (left.count() <= 0) {
      error = ETIMEDOUT;
      break;
    }
    auto share = std::max<std::int64_t>(
        left.count() / static_cast<std::int64_t>(answer.addresses.size() - i), 1);
    StepDeadline(left + std::chrono::seconds(1));
    // Shared with the timer's handler, which may already be on its way when the attempt is over.
    struct Attempt {
      bool over = false;
      bool late = false;
    };
    auto attempt = std::make_shared<Attempt>();
    asio::steady_timer timer(session_.io, std::chrono::milliseconds(share));
    timer.async_wait([self = shared_from_this(), attempt](const asio::error_code& cancelled) {
      if (cancelled || attempt->over) return;
      attempt->late = true;
      if (self->upstream_) self->upstream_->Abort();
    });
    error = co_await Connect(answer.addresses[i], target.port);
    attempt->over = true;
    timer.cancel();
    if (attempt->late) error = ETIMEDOUT;
    if (error == 0) {
      flow.event.dialled = answer.addresses[i].ToString();
      Touch();
      co_return flow;
    }
  }
  bool late = error == ETIMEDOUT;
  co_await FailFlow(flow, asker, late ? 504 : 502,
                    std::string(WhyEnded(late ? "connect-timeout" : "connect-failed")));
  co_return std::nullopt;
}

}  // namespace writ::egress
