// SOCKS5 through the real process: the same rules, the same record, the same tunnel as CONNECT's.
#include <sys/socket.h>

#include <algorithm>

#include "proxy_fixture.h"
#include "writ/egress/socks.h"

namespace writ::egress::test {
namespace {

using namespace std::string_literals;

const std::string kNoToken = "\x05\x01\x00"s;

std::string RequestFor(const std::string& host, std::uint16_t port) {
  return "\x05\x01\x00\x03"s + static_cast<char>(host.size()) + host +
         static_cast<char>(port >> 8) + static_cast<char>(port & 0xff);
}
std::string RequestForV4(const std::string& address, std::uint16_t port) {
  return "\x05\x01\x00\x01"s + address + static_cast<char>(port >> 8) +
         static_cast<char>(port & 0xff);
}

ProxyConfig Allowing(std::uint16_t port, std::initializer_list<TunnelGrant> grants = {}) {
  ProxyConfig config = Proxy::LoopbackConfig();
  Rule rule = Allow("allow.tls", "allowed.example.com", port);
  for (TunnelGrant grant : grants) rule.grants.Add(grant);
  config.rules.rules.push_back(rule);
  return config;
}

// The status of the answer to `request`, on a connection that was greeted.
struct Asked {
  UniqueFd fd;
  int status = -1;
};
Asked Ask(Proxy& proxy, const std::string& request) {
  Asked out{proxy.Connect()};
  SendAll(out.fd.get(), kNoToken);
  EXPECT_EQ(ReadExactly(out.fd.get(), 2), "\x05\x00"s);
  SendAll(out.fd.get(), request);
  const std::string reply = ReadExactly(out.fd.get(), 10);
  if (reply.size() == 10 && reply[0] == kSocksVersion) out.status = reply[1];
  return out;
}

std::vector<DecisionEvent> Blocked(Proxy& proxy) {
  auto all = proxy.Seen<DecisionEvent>();
  std::erase_if(all, [](const DecisionEvent& e) { return e.allowed; });
  return all;
}

void ExpectReconciled(Proxy& proxy) {
  const ClosingReport report = proxy.Stop();
  EXPECT_EQ(report.status, ClosingReport::Status::kReconciled)
      << ::testing::PrintToString(report.differences);
}

TEST(ProxySocks, CarriesTlsForANameThatIsAllowed) {  // L23
  Upstream upstream(Echo());
  Proxy proxy(Allowing(upstream.port()));
  Asked asked = Ask(proxy, RequestFor("Allowed.example.com", upstream.port()));
  ASSERT_EQ(asked.status, static_cast<int>(SocksStatus::kSucceeded));
  const std::string hello = MakeClientHello("allowed.example.com");
  SendAll(asked.fd.get(), hello);
  EXPECT_EQ(ReadExactly(asked.fd.get(), hello.size()), hello);
  ::shutdown(asked.fd.get(), SHUT_WR);
  EXPECT_EQ(ReadUntilEof(asked.fd.get()), "");
  ExpectReconciled(proxy);
  const auto decisions = proxy.Seen<DecisionEvent>();
  ASSERT_EQ(decisions.size(), 1u);
  EXPECT_EQ(decisions[0].protocol, Protocol::kSocks);
  EXPECT_EQ(decisions[0].host, "allowed.example.com");
  EXPECT_EQ(proxy.Seen<FlowEvent>().at(0).bytes_up, hello.size());
}

TEST(ProxySocks, TakesItsMessagesByteByByte) {
  Upstream upstream(Echo());
  Proxy proxy(Allowing(upstream.port(), {TunnelGrant::kRawBytes}));
  UniqueFd fd = proxy.Connect();
  for (char c : kNoToken) SendAll(fd.get(), {&c, 1});
  EXPECT_EQ(ReadExactly(fd.get(), 2), "\x05\x00"s);
  for (char c : RequestFor("allowed.example.com", upstream.port())) SendAll(fd.get(), {&c, 1});
  EXPECT_EQ(ReadExactly(fd.get(), 10), SocksReply(SocksStatus::kSucceeded));
  SendAll(fd.get(), "ssh");
  EXPECT_EQ(ReadExactly(fd.get(), 3), "ssh");
}

TEST(ProxySocks, WhatIsSentAheadIsNotLost) {
  Upstream upstream(Echo());
  Proxy proxy(Allowing(upstream.port(), {TunnelGrant::kRawBytes}));
  UniqueFd fd = proxy.Connect();
  SendAll(fd.get(), kNoToken + RequestFor("allowed.example.com", upstream.port()) + "early");
  EXPECT_EQ(ReadExactly(fd.get(), 12), "\x05\x00"s + SocksReply(SocksStatus::kSucceeded));
  EXPECT_EQ(ReadExactly(fd.get(), 5), "early");
}

struct Refused {
  const char* what;
  std::string request;
  Reason reason;
};
TEST(ProxySocks, RefusesWhatNoRuleAllowsAndRecordsIt) {  // L5, L21, L22
  Upstream upstream(Echo());
  Proxy proxy(Allowing(upstream.port()));
  const std::uint16_t port = upstream.port();
  const std::vector<Refused> rows = {
      {"another name", RequestFor("other.example.com", port), Reason::kNoRule},
      {"another port", RequestFor("allowed.example.com", 22), Reason::kPort},
      {"an address", RequestForV4("\x7f\x00\x00\x01"s, port), Reason::kLiteralAddress},
      {"metadata", RequestForV4("\xa9\xfe\xa9\xfe"s, 80), Reason::kLiteralAddress},
      {"an address as a name", RequestFor("127.0.0.1", port), Reason::kLiteralAddress},
      {"a number as a name", RequestFor("2130706433", port), Reason::kBadHost},
      {"a name with NUL", RequestFor("allowed.example.com\0.x"s, port), Reason::kBadHost},
      {"v6 loopback", "\x05\x01\x00\x04"s + std::string(15, '\0') + "\x01\x01\xbb"s,
       Reason::kLiteralAddress},
  };
  for (const Refused& row : rows)
    EXPECT_EQ(Ask(proxy, row.request).status, static_cast<int>(SocksStatus::kNotAllowed))
        << row.what;
  ExpectReconciled(proxy);
  const auto blocked = Blocked(proxy);
  ASSERT_EQ(blocked.size(), rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(ReasonName(blocked[i].reason), ReasonName(rows[i].reason)) << rows[i].what;
    EXPECT_EQ(blocked[i].protocol, Protocol::kSocks);
  }
  EXPECT_EQ(upstream.connections(), 0);
}

TEST(ProxySocks, AFirstFlightThatIsNotTheHostsGetsNoByteThrough) {  // L23, L29
  Upstream upstream(Echo());
  Proxy proxy(Allowing(upstream.port()));
  for (const std::string& first :
       {MakeClientHello("other.example.com"), "GET / HTTP/1.1\r\n\r\n"s, MakeClientHello("")}) {
    Asked asked = Ask(proxy, RequestFor("allowed.example.com", upstream.port()));
    ASSERT_EQ(asked.status, 0);
    SendAll(asked.fd.get(), first);
    (void)ReadUntilEof(asked.fd.get());
  }
  const ClosingReport report = proxy.Stop();
  const auto blocked = Blocked(proxy);
  ASSERT_EQ(blocked.size(), 3u);
  EXPECT_EQ(blocked[0].reason, Reason::kSniMismatch);
  EXPECT_EQ(blocked[1].reason, Reason::kNotTls);
  EXPECT_EQ(blocked[2].reason, Reason::kSniMissing);
  EXPECT_EQ(blocked[1].protocol, Protocol::kSocks);
  EXPECT_EQ(report.counters.bytes_up, 0u);
  EXPECT_EQ(report.status, ClosingReport::Status::kReconciled);
}

TEST(ProxySocks, SaysWhyAnUpstreamIsNotThere) {
  std::uint16_t nobody = ListenOnLoopback().port;  // closed again
  Proxy proxy(Allowing(nobody));
  EXPECT_EQ(Ask(proxy, RequestFor("allowed.example.com", nobody)).status,
            static_cast<int>(SocksStatus::kRefused));
  ExpectReconciled(proxy);
}

TEST(ProxySocks, ASharedListenerAsksForTheSessionsToken) {  // L26
  Upstream upstream(Echo());
  ProxyConfig config = Allowing(upstream.port(), {TunnelGrant::kRawBytes});
  config.token = Secret("token-of-the-session");
  Proxy proxy(std::move(config), ListenerReach::kShared);
  auto greeted = [&](const std::string& greeting) {
    UniqueFd fd = proxy.Connect();
    SendAll(fd.get(), greeting);
    return fd;
  };
  EXPECT_EQ(ReadUntilEof(greeted(kNoToken).get()), "\x05\xff"s);
  UniqueFd wrong = greeted("\x05\x01\x02\x01\x04writ\x03tok"s);
  EXPECT_EQ(ReadUntilEof(wrong.get()), "\x05\x02\x01\x01"s);
  UniqueFd right = greeted("\x05\x02\x00\x02\x01\x04writ\x14token-of-the-session"s +
                           RequestFor("allowed.example.com", upstream.port()) + "hi");
  EXPECT_EQ(ReadExactly(right.get(), 16),
            "\x05\x02\x01\x00"s + SocksReply(SocksStatus::kSucceeded) + "hi");
  const ClosingReport report = proxy.Stop();
  EXPECT_EQ(report.counters.unauthenticated, 2u);
  EXPECT_EQ(report.status, ClosingReport::Status::kReconciled);
}

TEST(ProxySocks, MalformedOnesAreRefusedAndOneConnectionSpeaksOneProtocol) {  // L29
  Proxy proxy(Allowing(443));
  const auto answer = [&](const std::string& bytes) {
    UniqueFd fd = proxy.Connect();
    SendAll(fd.get(), bytes);
    ::shutdown(fd.get(), SHUT_WR);
    return ReadUntilEof(fd.get());
  };
  EXPECT_EQ(answer("\x05\x00"s), SocksReply(SocksStatus::kFailed));
  EXPECT_EQ(answer("\x05\x01\x01"s), "\x05\xff"s);
  EXPECT_EQ(answer(kNoToken + "\x05\x02"s), "\x05\x00"s + SocksReply(SocksStatus::kCommand));
  EXPECT_EQ(answer(kNoToken + "\x05\x01"s), "\x05\x00"s);                     // cut
  EXPECT_EQ(StatusOf(answer("\x04\x01\x00\x50\x7f\x00\x00\x01\x00"s)), 400);  // SOCKS4
  // After HTTP was spoken.
  UniqueFd fd = proxy.Connect();
  SendAll(fd.get(), "GET http://other.example.com/ HTTP/1.1\r\nHost: other.example.com\r\n\r\n");
  EXPECT_EQ(StatusOf(ReadHead(fd.get())), 403);
  SendAll(fd.get(), kNoToken);
  ::shutdown(fd.get(), SHUT_WR);
  EXPECT_EQ(ReadUntilEof(fd.get()).find("\x05\x00"s), std::string::npos);
  ExpectReconciled(proxy);
  std::vector<std::string> codes;
  for (const RefusalEvent& event : proxy.Seen<RefusalEvent>()) codes.push_back(event.code);
  ASSERT_GE(codes.size(), 5u);
  EXPECT_EQ(
      std::vector<std::string>(codes.begin(), codes.begin() + 4),
      (std::vector<std::string>{"socks.no_methods", "socks.method", "socks.command", "socks.cut"}));
  ExpectReconciled(proxy);
}

}  // namespace
}  // namespace writ::egress::test
