// SOCKS5 on a proxy's listener, told from HTTP by its first byte: greeting, token, request; from
// there on it is a tunnel like CONNECT's, with the same rules for its first flight (L23).
#include "writ/egress/socks.h"

#include <algorithm>

#include "connection.h"
#include "writ/base/encoding.h"

namespace writ::egress {
namespace {

// What RFC 1928 sends as an address, in the one spelling that host names have here.
std::string LiteralOf(std::string_view bytes) {
  IpAddress address;
  if (bytes.size() == 16) address.family = IpAddress::Family::kV6;
  std::copy(bytes.begin(), bytes.end(), address.bytes.begin());
  return bytes.size() == 16 ? "[" + address.ToString() + "]" : address.ToString();
}

}  // namespace

asio::awaitable<void> Connection::RefuseSocks(std::string_view code, std::string_view reply) {
  ++session_.counters.malformed;
  RefusalEvent event{0, Reason::kMalformed, std::string(code), 0};
  co_await session_.link.Emit(std::move(event), session_.counters);
  client_.SendNow(reply);
}

// One message, however its bytes arrive; nullopt: refused and recorded.
template <typename T>
asio::awaitable<std::optional<T>> Connection::ReadSocks(SocksRead<T> (*read)(std::string_view)) {
  for (;;) {
    auto got = read(in_);
    if (auto* message = std::get_if<SocksMessage<T>>(&got)) {
      in_.erase(0, message->bytes);
      co_return std::move(message->value);
    }
    if (const auto* refused = std::get_if<SocksRefusal>(&got)) {
      const std::string reply = SocksReply(refused->status);
      co_await RefuseSocks(refused->code, reply);
      co_return std::nullopt;
    }
    if (co_await ReadMore() > 0) continue;
    co_await RefuseSocks(abort_why_ == "idle-timeout" ? "socks.timeout" : "socks.cut", {});
    co_return std::nullopt;
  }
}

// Whoever can reach a shared listener shows the session's token, as in HTTP; a private one is the
// session's alone.
asio::awaitable<bool> Connection::SocksAdmitted() {
  auto greeting = co_await ReadSocks(&ReadSocksGreeting);
  if (!greeting) co_return false;
  if (reach_ == ListenerReach::kPrivate) {
    const std::string answer =
        SocksMethodReply(greeting->offers_none ? SocksMethod::kNone : SocksMethod::kUnacceptable);
    if (greeting->offers_none) co_return co_await client_.Write(answer) == 0;
    co_await RefuseSocks("socks.method", answer);
    co_return false;
  }
  bool good = false;
  std::string answer = SocksMethodReply(SocksMethod::kUnacceptable);
  if (greeting->offers_password && !session_.expected_credentials.empty()) {
    const std::string chosen = SocksMethodReply(SocksMethod::kPassword);
    if (co_await client_.Write(chosen) != 0) co_return false;
    auto given = co_await ReadSocks(&ReadSocksCredentials);
    if (!given) co_return false;
    good = ConstantTimeEqual(given->name + ":" + given->password, session_.expected_credentials);
    answer = SocksCredentialsReply(good);
  }
  if (!good) {
    ++session_.counters.unauthenticated;
    RefusalEvent event{0, Reason::kUnauthenticated, "proxy.token", 0};
    co_await session_.link.Emit(std::move(event), session_.counters);
    client_.SendNow(answer);
    co_return false;
  }
  co_return co_await client_.Write(answer) == 0;
}

asio::awaitable<Connection::Next> Connection::ServeSocks() {
  if (!co_await SocksAdmitted()) co_return Next::kClose;
  auto request = co_await ReadSocks(&ReadSocksRequest);
  if (!request) co_return Next::kClose;
  const Asker asker{Protocol::kSocks, {}, {}};
  auto host =
      HostName::Normalise(request->address.empty() ? request->host : LiteralOf(request->address));
  if (!host) {
    Decision bad{false, Reason::kBadHost, "default", {}, host.error().code};
    co_await Deny(bad, PrintableHost(request->host), request->port, asker, {});
    co_return Next::kClose;
  }
  Target target{Protocol::kSocks, std::move(*host), request->port};
  auto opened = co_await OpenFlow(target, asker);
  if (!opened) co_return Next::kClose;
  const std::string established = SocksReply(SocksStatus::kSucceeded);
  if (co_await client_.Write(established) != 0) {
    co_await EndFlow(*opened, std::string(WhyEnded("client-error")));
    co_return Next::kClose;
  }
  co_return co_await RunTunnel(std::move(*opened), std::move(target));
}

}  // namespace writ::egress
