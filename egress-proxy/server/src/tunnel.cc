// Tunnels (CONNECT, and what SOCKS opened) whose first bytes are a ClientHello for the host that
// was asked for (L23).
#include <sys/socket.h>

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/post.hpp>
#include <asio/redirect_error.hpp>
#include <asio/use_awaitable.hpp>
#include <cerrno>

#include "connection.h"
#include "writ/egress/client_hello.h"

namespace writ::egress {
namespace {
constexpr std::string_view kEstablished = "HTTP/1.1 200 Connection established\r\n\r\n";
constexpr int kRoundsBeforeYield = 8;  // so that a fast flow does not starve the others
constexpr std::string_view kConnectMethod = "CONNECT ";
}  // namespace

struct Connection::Tunnel {
  explicit Tunnel(asio::io_context& io) : other_ended(io, asio::steady_timer::time_point::max()) {}
  std::string_view close_reason;  // of the side that ended first
  bool other_running = false;
  bool nested_connect = false;  // a raw tunnel's client began with a second CONNECT
  asio::steady_timer other_ended;
};

asio::awaitable<Connection::Next> Connection::ServeConnect(RequestHead head) {
  const Asker asker = AskerOf(head);
  auto parsed = ParseConnectTarget(head.target);
  if (const auto* refused = std::get_if<HttpRefusal>(&parsed)) co_return co_await Refuse(*refused);
  AuthorityParts raw = std::move(std::get<AuthorityParts>(parsed));
  if (head.body.kind != BodyFraming::Kind::kNone)
    co_return co_await Refuse(HttpRefusal{"http.connect_body", 400});
  auto host = HostName::Normalise(raw.host);
  if (!host) {
    Decision bad{false, Reason::kBadHost, "default", {}, host.error().code};
    co_await Deny(bad, PrintableHost(raw.host), *raw.port, asker, {});
    co_return Next::kClose;
  }
  if (!head.host.empty()) {
    auto named = ParseAuthority(head.host);
    const auto* parts = std::get_if<AuthorityParts>(&named);
    if (parts == nullptr) co_return co_await Refuse(std::get<HttpRefusal>(named));
    auto host_header = HostName::Normalise(parts->host);
    if (!host_header || !(*host_header == *host) || parts->port.value_or(*raw.port) != *raw.port)
      co_return co_await Refuse(HttpRefusal{"http.host_mismatch", 400});
  }
  Target target{Protocol::kConnect, std::move(*host), *raw.port};
  auto opened = co_await OpenFlow(target, asker);
  if (!opened) co_return Next::kClose;
  if (co_await client_.Write(kEstablished) != 0) {
    co_await EndFlow(*opened, std::string(WhyEnded("client-error")));
    co_return Next::kClose;
  }
  co_return co_await RunTunnel(std::move(*opened), std::move(target));
}

asio::awaitable<Connection::Next> Connection::RunTunnel(Flow flow, Target target) {
  if (!co_await AdmitFirstFlight(flow, target)) co_return Next::kClose;

  auto tunnel = std::make_shared<Tunnel>(session_.io);
  std::string first = std::move(in_);
  in_.clear();
  if (co_await upstream_->Write(first) != 0) {
    co_await EndFlow(flow, std::string(WhyEnded("upstream-error")));
    co_return Next::kClose;
  }
  flow.event.bytes_up += first.size();
  Touch();
  tunnel->other_running = true;
  auto down = [](std::shared_ptr<Connection> self, std::shared_ptr<Tunnel> shared,
                 Flow& of) -> asio::awaitable<void> {
    co_await self->Pump(shared, *self->upstream_, self->client_, of.event.bytes_down,
                        "upstream-closed", "upstream-error", "client-error");
    shared->other_running = false;
    shared->other_ended.cancel();
  };
  asio::co_spawn(session_.io, down(shared_from_this(), tunnel, flow), asio::detached);
  co_await Pump(tunnel, client_, *upstream_, flow.event.bytes_up, "client-closed", "client-error",
                "upstream-error");
  while (tunnel->other_running) {
    asio::error_code ignored;
    co_await tunnel->other_ended.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  if (tunnel->nested_connect) {
    Decision nested{false, Reason::kNestedConnect, flow.event.rule_id, {}, {}};
    co_await RefuseFirstFlight(flow, nested, false);
  } else {
    co_await EndFlow(flow, std::string(WhyEnded(tunnel->close_reason)));
  }
  client_.Abort();
  co_return Next::kClose;
}

// Reads until the first bytes say what they are. True: forward them. False: the flow is refused and
// recorded.
asio::awaitable<bool> Connection::AdmitFirstFlight(Flow& flow, const Target& target) {
  bool raw_granted = flow.grants.Has(TunnelGrant::kRawBytes);
  if (raw_granted && in_.empty())
    co_return true;  // the server may speak first; Pump looks for CONNECT
  Decision allowed{true, Reason::kAllowed, flow.event.rule_id, flow.grants, {}};
  ClientHelloReader reader;
  StepDeadline(session_.config.limits.idle);
  bool begun = false;
  for (;;) {
    auto state = ClientHelloReader::State::kNeedMore;
    if (!in_.empty()) {
      if (!begun) StepDeadline(session_.config.limits.head);
      begun = true;
      state = reader.Read(in_);
    }
    if (raw_granted && state != ClientHelloReader::State::kNeedMore) {
      if (!std::string_view(in_).starts_with(kConnectMethod)) co_return true;
      allowed.allowed = false;
      allowed.reason = Reason::kNestedConnect;
      co_await RefuseFirstFlight(flow, allowed, false);
      co_return false;
    }
    if (state == ClientHelloReader::State::kComplete) {
      FirstFlight first{FirstFlight::Kind::kTls, reader.hello().sni,
                        reader.hello().encrypted_hello};
      Decision decision = DecideFirstFlight(allowed, target, first);
      if (decision.allowed) co_return true;
      co_await RefuseFirstFlight(flow, decision, true);
      co_return false;
    }
    if (state == ClientHelloReader::State::kNotTls) {
      Decision not_tls = DecideFirstFlight(allowed, target, FirstFlight{});
      co_await RefuseFirstFlight(flow, not_tls, false);
      co_return false;
    }
    const ssize_t n = co_await ReadMore();
    if (n <= 0) {
      co_await EndFlow(flow, std::string(WhyEnded(n == 0 ? "client-closed" : "client-error")));
      co_return false;
    }
  }
}

asio::awaitable<void> Connection::RefuseFirstFlight(Flow& flow, const Decision& decision,
                                                    bool tls) {
  ++session_.counters.sni_refused;
  DecisionEvent event;
  event.flow = flow.event.flow;
  event.protocol = flow.protocol;
  event.host = flow.event.host;
  event.port = flow.event.port;
  event.reason = decision.reason;
  event.rule_id = decision.rule_id;
  event.detail = decision.detail;
  co_await session_.link.Emit(std::move(event), session_.counters);
  if (tls) {
    client_.SendNow(TlsAccessDenied());
  } else if (flow.protocol == Protocol::kConnect) {  // who asked in HTTP can read it
    client_.SendNow(DenialReply(decision, flow.event.host, flow.event.port, ReplyShape{}));
  }
  co_await EndFlow(flow, "refused");
}

// Copies one direction until it ends. Bytes pass through the session's scratch buffer, and only
// what the other side would not take at once is put aside, so an idle tunnel holds no buffer.
asio::awaitable<void> Connection::Pump(std::shared_ptr<Tunnel> tunnel, Stream& from, Stream& to,
                                       std::uint64_t& bytes, std::string_view eof_reason,
                                       std::string_view read_error, std::string_view write_error) {
  std::vector<char>& scratch = session_.scratch;
  std::string_view ended;
  int rounds = 0;
  bool first = true;
  while (ended.empty()) {
    if (from.aborted() || to.aborted()) {
      ended = read_error;
      break;
    }
    ssize_t n = ::recv(from.fd(), scratch.data(), scratch.size(), MSG_DONTWAIT);
    if (n == 0) {
      ended = eof_reason;
      break;
    }
    if (n < 0) {
      if (errno == EINTR) continue;
      rounds = 0;
      if (errno != EAGAIN || co_await from.WaitReadable() != 0) ended = read_error;
      continue;
    }
    auto count = static_cast<std::size_t>(n);
    if (first && &from == &client_ &&
        std::string_view(scratch.data(), count).starts_with(kConnectMethod)) {
      tunnel->nested_connect = true;
      ended = "refused";
      break;
    }
    first = false;
    Touch();
    ssize_t sent = ::send(to.fd(), scratch.data(), count, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) sent = errno == EAGAIN || errno == EINTR ? 0 : -1;
    if (sent < 0) {
      ended = write_error;
      break;
    }
    bytes += static_cast<std::uint64_t>(sent);
    if (static_cast<std::size_t>(sent) < count) {
      std::string rest(scratch.data() + sent, count - static_cast<std::size_t>(sent));
      rounds = 0;
      if (co_await to.Write(rest) != 0) {
        ended = write_error;
        break;
      }
      bytes += rest.size();
    } else if (++rounds == kRoundsBeforeYield) {
      rounds = 0;
      co_await asio::post(session_.io, asio::use_awaitable);
    }
  }
  if (tunnel->close_reason.empty()) tunnel->close_reason = ended;
  if (ended == eof_reason) {
    to.ShutdownWrite();
  } else {
    // An error on one side ends both; the reason is the first one's.
    client_.Abort();
    if (upstream_) upstream_->Abort();
  }
}

}  // namespace writ::egress
