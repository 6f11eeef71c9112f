// Connection: one accepted socket, from its first byte to its last, as straight-line coroutines.
//
// connection.cc reads heads and refuses; dial.cc decides, resolves and connects; forward.cc does
// one HTTP exchange; tunnel.cc does CONNECT and whatever else ends in a tunnel; socks.cc speaks
// SOCKS5 until there is one. Owned by Session::connections while it runs; loop
// thread only.
#pragma once

#include <asio/awaitable.hpp>
#include <asio/steady_timer.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "replies.h"
#include "session.h"
#include "stream.h"
#include "writ/egress/http_head.h"
#include "writ/egress/request_target.h"
#include "writ/egress/socks.h"

namespace writ::egress {

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Session& session, UniqueFd socket, ListenerReach reach);
  asio::awaitable<void> Run();
  // Ends it soon: all waits fail, flows close with `why` ("stopped").
  void Abort(std::string_view why);

 private:
  using Clock = std::chrono::steady_clock;
  // How whoever asked for a target is told that it is not to be had.
  struct Asker {
    Protocol protocol = Protocol::kHttp;
    std::string method;  // of HTTP
    ReplyShape shape;
  };
  // One allowed target, from the decision to its FlowEvent.
  struct Flow {
    FlowEvent event;
    Protocol protocol = Protocol::kHttp;
    Clock::time_point start;
    TunnelGrants grants;
  };
  enum class Next { kKeep, kClose };

  // connection.cc
  asio::awaitable<Next> ServeOne();
  // More from the client, into in_; as Stream::Read.
  asio::awaitable<ssize_t> ReadMore();
  asio::awaitable<Next> Refuse(HttpRefusal refusal);
  asio::awaitable<Next> RefuseUnauthenticated(const RequestHead& head);
  bool Authenticated(const RequestHead& head) const;
  asio::awaitable<bool> PeerIsForeign();
  asio::awaitable<void> LingeringClose();
  void StepDeadline(std::chrono::milliseconds from_now);  // one step: no progress moves it
  void Touch();  // progress: idle starts anew, within hard_end_
  void Watch();
  std::string_view WhyEnded(std::string_view otherwise) const {
    return abort_why_.empty() ? otherwise : abort_why_;
  }

  // dial.cc
  // The flow of an allowed and connected target; nullopt: answered and recorded already.
  asio::awaitable<std::optional<Flow>> OpenFlow(Target target, const Asker& asker);
  asio::awaitable<void> Deny(const Decision& decision, std::string host, std::uint16_t port,
                             const Asker& asker, std::vector<std::string> addresses);
  asio::awaitable<void> FailFlow(Flow& flow, const Asker& asker, int status,
                                 std::string close_reason);
  asio::awaitable<int> Connect(IpAddress address, std::uint16_t port);
  asio::awaitable<void> EndFlow(Flow& flow, std::string close_reason);
  static ReplyShape ShapeFor(const RequestHead& head);
  static Asker AskerOf(const RequestHead& head);

  // forward.cc
  struct Exchange;
  asio::awaitable<Next> Forward(RequestHead head);
  asio::awaitable<void> PumpRequestBody(std::shared_ptr<Exchange> exchange);
  asio::awaitable<void> PumpResponse(std::shared_ptr<Exchange> exchange);
  asio::awaitable<bool> PumpResponseBody(std::shared_ptr<Exchange> exchange, bool chunk_for_client);

  // tunnel.cc
  struct Tunnel;
  asio::awaitable<Next> ServeConnect(RequestHead head);
  // From an established tunnel to its end: the first flight decides, then bytes pass.
  asio::awaitable<Next> RunTunnel(Flow flow, Target target);
  asio::awaitable<bool> AdmitFirstFlight(Flow& flow, const Target& target);
  asio::awaitable<void> RefuseFirstFlight(Flow& flow, const Decision& decision, bool tls);
  asio::awaitable<void> Pump(std::shared_ptr<Tunnel> tunnel, Stream& from, Stream& to,
                             std::uint64_t& bytes, std::string_view eof_reason,
                             std::string_view read_error, std::string_view write_error);

  // socks.cc
  asio::awaitable<Next> ServeSocks();
  asio::awaitable<bool> SocksAdmitted();
  template <typename T>
  asio::awaitable<std::optional<T>> ReadSocks(SocksRead<T> (*read)(std::string_view));
  asio::awaitable<void> RefuseSocks(std::string_view code, std::string_view reply);

  Session& session_;
  Stream client_;
  std::optional<Stream> upstream_;
  ListenerReach reach_;
  std::string in_;              // received from the client, not yet used
  std::string_view abort_why_;  // static storage; empty while alive
  asio::steady_timer watchdog_;
  Clock::time_point deadline_ = Clock::time_point::max();
  Clock::time_point hard_end_ = Clock::time_point::max();
  bool spoke_http_ = false;
  bool watching_ = false;
  bool finished_ = false;
};

}  // namespace writ::egress
