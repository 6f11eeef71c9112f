// CONNECT through the real process.
#include <sys/socket.h>

#include <algorithm>

#include "proxy_fixture.h"

namespace writ::egress::test {
namespace {

std::string Authority(std::uint16_t port) {
  return "allowed.example.com:" + std::to_string(port);
}

ProxyConfig Allowing(std::uint16_t port, std::initializer_list<TunnelGrant> grants = {}) {
  ProxyConfig config = Proxy::LoopbackConfig();
  Rule rule = Allow("allow.tls", "allowed.example.com", port);
  for (TunnelGrant grant : grants) rule.grants.Add(grant);
  config.rules.rules.push_back(rule);
  return config;
}

std::vector<DecisionEvent> Blocked(Proxy& proxy) {
  auto all = proxy.Seen<DecisionEvent>();
  std::erase_if(all, [](const DecisionEvent& e) { return e.allowed; });
  return all;
}

TEST(ProxyTunnel, CarriesTlsWhoseServerNameIsTheConnectHost) {  // L23
  Upstream upstream(Echo());
  Proxy proxy(Allowing(upstream.port()));
  auto [fd, head] = proxy.Tunnel(Authority(upstream.port()));
  ASSERT_EQ(StatusOf(head), 200) << head;
  std::string hello = MakeClientHello("allowed.EXAMPLE.com");
  SendAll(fd.get(), hello);
  EXPECT_EQ(ReadExactly(fd.get(), hello.size()), hello);
  SendAll(fd.get(), "after");
  EXPECT_EQ(ReadExactly(fd.get(), 5), "after");
  ::shutdown(fd.get(), SHUT_WR);
  EXPECT_EQ(ReadUntilEof(fd.get()), "");
  ClosingReport report = proxy.Stop();
  EXPECT_EQ(report.status, ClosingReport::Status::kReconciled)
      << ::testing::PrintToString(report.differences);
  EXPECT_EQ(report.counters.bytes_up, hello.size() + 5);
  EXPECT_EQ(report.counters.bytes_down, hello.size() + 5);
  ASSERT_EQ(proxy.Seen<FlowEvent>().size(), 1u);
  EXPECT_EQ(proxy.Seen<FlowEvent>()[0].close_reason, "client-closed");
}

TEST(ProxyTunnel, ReadsAClientHelloThatArrivesByteByByte) {  // L23
  Upstream upstream(Echo());
  Proxy proxy(Allowing(upstream.port()));
  auto [fd, head] = proxy.Tunnel(Authority(upstream.port()));
  std::string hello = MakeClientHello("allowed.example.com");
  for (char c : hello) SendAll(fd.get(), {&c, 1});
  EXPECT_EQ(ReadExactly(fd.get(), hello.size()), hello);
}

struct Refusal {
  const char* name;
  std::string first_bytes;
  Reason reason;
};

TEST(ProxyTunnel, LetsNoByteThroughWhereTheFirstFlightIsNotRight) {  // L23, L29
  const Refusal cases[] = {
      {"another name", MakeClientHello("other.example.com"), Reason::kSniMismatch},
      {"no name", MakeClientHello(""), Reason::kSniMissing},
      {"an address as name", MakeClientHello("127.0.0.1"), Reason::kSniMismatch},
      {"name with NUL", MakeClientHello(std::string("allowed.example.com\0.evil", 24)),
       Reason::kSniMismatch},
      {"encrypted hello", MakeClientHello("allowed.example.com", true), Reason::kEncryptedHello},
      {"plain HTTP", "GET / HTTP/1.1\r\nHost: allowed.example.com\r\n\r\n", Reason::kNotTls},
      {"second CONNECT", "CONNECT evil.example.com:443 HTTP/1.1\r\n\r\n", Reason::kNotTls},
      {"SSH", "SSH-2.0-OpenSSH_9.2\r\n", Reason::kNotTls},
  };
  for (const Refusal& c : cases) {
    std::atomic<std::size_t> received = 0;
    Upstream upstream([&](int fd) { received += ReadUntilEof(fd).size(); });
    Proxy proxy(Allowing(upstream.port()));
    auto [fd, head] = proxy.Tunnel(Authority(upstream.port()));
    ASSERT_EQ(StatusOf(head), 200);
    SendAll(fd.get(), c.first_bytes);
    std::string last_word = ReadUntilEof(fd.get());
    EXPECT_FALSE(last_word.empty()) << c.name;  // L28: a TLS alert, or a 403 for what is not TLS
    ClosingReport report = proxy.Stop();
    EXPECT_EQ(report.status, ClosingReport::Status::kReconciled)
        << ::testing::PrintToString(report.differences);
    EXPECT_EQ(report.counters.sni_refused, 1u) << c.name;
    EXPECT_EQ(report.counters.bytes_up, 0u) << c.name;
    auto blocked = Blocked(proxy);
    ASSERT_EQ(blocked.size(), 1u) << c.name;
    EXPECT_EQ(blocked[0].reason, c.reason) << c.name << ": " << ReasonName(blocked[0].reason);
    EXPECT_EQ(blocked[0].rule_id, "allow.tls");
    EXPECT_EQ(received, 0u) << c.name;
  }
}

TEST(ProxyTunnel, AllowsAMissingNameOnlyByGrant) {  // L23
  Upstream upstream(Echo());
  Proxy proxy(Allowing(upstream.port(), {TunnelGrant::kMissingSni}));
  auto [fd, head] = proxy.Tunnel(Authority(upstream.port()));
  std::string hello = MakeClientHello("");
  SendAll(fd.get(), hello);
  EXPECT_EQ(ReadExactly(fd.get(), hello.size()), hello);
}

TEST(ProxyTunnel, CarriesAnythingButASecondConnectWithTheRawGrant) {  // L29
  Upstream upstream(Echo());
  Proxy proxy(Allowing(upstream.port(), {TunnelGrant::kRawBytes}));
  auto [fd, head] = proxy.Tunnel(Authority(upstream.port()));
  SendAll(fd.get(), "SSH-2.0-x\r\n");
  EXPECT_EQ(ReadExactly(fd.get(), 11), "SSH-2.0-x\r\n");
  auto [second, second_head] = proxy.Tunnel(Authority(upstream.port()));
  SendAll(second.get(), "CONNECT evil.example.com:443 HTTP/1.1\r\n\r\n");
  ReadUntilEof(second.get());
  ClosingReport report = proxy.Stop();
  EXPECT_EQ(report.status, ClosingReport::Status::kReconciled)
      << ::testing::PrintToString(report.differences);
  ASSERT_EQ(Blocked(proxy).size(), 1u);
  EXPECT_EQ(Blocked(proxy)[0].reason, Reason::kNestedConnect);
  EXPECT_EQ(report.counters.bytes_up, 11u);
}

TEST(ProxyTunnel, LetsAServerSpeakFirstWithTheRawGrant) {
  Upstream upstream([](int fd) { SendAll(fd, "220 hello\r\n"); });
  Proxy proxy(Allowing(upstream.port(), {TunnelGrant::kRawBytes}));
  auto [fd, head] = proxy.Tunnel(Authority(upstream.port()));
  EXPECT_EQ(ReadUntilEof(fd.get()), "220 hello\r\n");
}

TEST(ProxyTunnel, DeniesOtherHostsPortsAndAddresses) {  // L5, L21, L22, L28
  Proxy proxy(Allowing(443));
  for (const char* authority :
       {"denied.example.com:443", "allowed.example.com:22", "127.0.0.1:443", "[::1]:443",
        "0x7f000001:443", "allowed.example.com.evil.com:443", "xallowed.example.com:443"}) {
    auto [fd, head] = proxy.Tunnel(authority);
    EXPECT_EQ(StatusOf(head), 403) << authority;
    EXPECT_NE(HeaderOf(head, "X-Writ-Denied"), "");
    EXPECT_EQ(HeaderOf(head, "Connection"), "close");
  }
  for (const char* authority :
       {"allowed.example.com", "allowed.example.com:0", "allowed.example.com:070", ":443"}) {
    auto [fd, head] = proxy.Tunnel(authority);
    EXPECT_EQ(StatusOf(head), 400) << authority;
  }
}

TEST(ProxyTunnel, DoesNotReadARequestBehindARefusedConnect) {  // L29: no desync
  Upstream upstream(AnswerWith("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
  ProxyConfig config = Allowing(upstream.port());
  Proxy proxy(std::move(config));
  std::string a = Authority(upstream.port());
  std::string answer = proxy.RoundTrip(
      "CONNECT denied.example.com:443 HTTP/1.1\r\nHost: denied.example.com:443\r\n\r\n"
      "GET http://" +
      a + "/ HTTP/1.1\r\nHost: " + a + "\r\n\r\n");
  EXPECT_EQ(StatusOf(answer), 403);
  EXPECT_EQ(upstream.connections(), 0);
  EXPECT_EQ(proxy.Stop().counters.requests, 1u);
}

TEST(ProxyTunnel, NeedsTheSessionTokenOnASharedListener) {  // L11
  Upstream upstream(Echo());
  ProxyConfig config = Allowing(upstream.port());
  config.token = Secret("0123456789abcdef0123456789abcdef");
  Proxy proxy(std::move(config), ListenerReach::kShared);
  std::string connect = "CONNECT " + Authority(upstream.port()) +
                        " HTTP/1.1\r\nHost: " + Authority(upstream.port()) + "\r\n";
  for (const char* credentials :
       {"", "Proxy-Authorization: Basic d3JpdDp3cm9uZw==\r\n",
        "Proxy-Authorization: Bearer 0123456789abcdef0123456789abcdef\r\n",
        "Proxy-Authorization: Basic !!!\r\n",
        "Proxy-Authorization: Basic d3JpdDowMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZg==\r\n"
        "Proxy-Authorization: Basic d3JpdDp3cm9uZw==\r\n"}) {
    UniqueFd fd = proxy.Connect();
    SendAll(fd.get(), connect + credentials + "\r\n");
    std::string head = ReadHead(fd.get());
    EXPECT_EQ(StatusOf(head), 407) << credentials;
    EXPECT_EQ(HeaderOf(head, "Proxy-Authenticate"), "Basic realm=\"writ\"");
  }
  UniqueFd fd = proxy.Connect();
  // base64("writ:0123456789abcdef0123456789abcdef")
  SendAll(fd.get(), connect +
                        "Proxy-Authorization: Basic "
                        "d3JpdDowMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n");
  EXPECT_EQ(StatusOf(ReadHead(fd.get())), 200);
  fd.reset();
  ClosingReport report = proxy.Stop();
  EXPECT_EQ(report.counters.unauthenticated, 5u);
  EXPECT_EQ(report.status, ClosingReport::Status::kReconciled)
      << ::testing::PrintToString(report.differences);
}

TEST(ProxyTunnel, NeverForwardsTheSessionToken) {  // L8
  std::string seen;
  Upstream upstream([&](int fd) {
    seen = ReadHead(fd);
    SendAll(fd, "HTTP/1.1 204 No Content\r\n\r\n");
  });
  ProxyConfig config = Allowing(upstream.port());
  config.token = Secret("0123456789abcdef0123456789abcdef");
  Proxy proxy(std::move(config), ListenerReach::kShared);
  std::string a = Authority(upstream.port());
  std::string answer =
      proxy.RoundTrip("GET http://" + a + "/ HTTP/1.1\r\nHost: " + a +
                      "\r\nProxy-Authorization: Basic "
                      "d3JpdDowMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n");
  EXPECT_EQ(StatusOf(answer), 204);
  EXPECT_FALSE(seen.empty());
  EXPECT_EQ(seen.find("Authorization"), std::string::npos);
  EXPECT_EQ(seen.find("d3JpdDow"), std::string::npos);
}

TEST(ProxyTunnel, HoldsTwoHundredTunnelsAtOnce) {
  Upstream upstream(Echo());
  Proxy proxy(Allowing(upstream.port()));
  std::vector<UniqueFd> tunnels;
  std::string hello = MakeClientHello("allowed.example.com");
  for (int i = 0; i < 200; ++i) {
    auto [fd, head] = proxy.Tunnel(Authority(upstream.port()));
    ASSERT_EQ(StatusOf(head), 200);
    SendAll(fd.get(), hello);
    tunnels.push_back(std::move(fd));
  }
  for (UniqueFd& fd : tunnels) EXPECT_EQ(ReadExactly(fd.get(), hello.size()), hello);
  ClosingReport report = proxy.Stop();  // with all of them open
  EXPECT_EQ(report.status, ClosingReport::Status::kReconciled)
      << ::testing::PrintToString(report.differences);
  EXPECT_EQ(report.counters.allowed, 200u);
  auto flows = proxy.Seen<FlowEvent>();
  ASSERT_EQ(flows.size(), 200u);
  EXPECT_TRUE(std::all_of(flows.begin(), flows.end(),
                          [](const FlowEvent& f) { return f.close_reason == "stopped"; }));
}

TEST(ProxyTunnel, Answers503OverItsLimitAndGoesOn) {
  Upstream upstream(Echo());
  ProxyConfig config = Allowing(upstream.port());
  config.limits.connections = 2;
  Proxy proxy(std::move(config));
  auto [first, first_head] = proxy.Tunnel(Authority(upstream.port()));
  auto [second, second_head] = proxy.Tunnel(Authority(upstream.port()));
  ASSERT_EQ(StatusOf(second_head), 200);
  UniqueFd third = proxy.Connect();
  EXPECT_EQ(StatusOf(ReadHead(third.get())), 503);
  ::shutdown(first.get(), SHUT_RDWR);
  ASSERT_TRUE(proxy.WaitFor([](const auto& events) {
    return std::any_of(events.begin(), events.end(),
                       [](const ProxyEvent& e) { return std::holds_alternative<FlowEvent>(e); });
  }));
  ClosingReport report = proxy.Stop();
  EXPECT_EQ(report.counters.overloaded, 1u);
  EXPECT_EQ(report.status, ClosingReport::Status::kReconciled)
      << ::testing::PrintToString(report.differences);
}

TEST(ProxyTunnel, MovesBulkDataWholeAgainstASlowReader) {
  Upstream upstream(Echo());
  Proxy proxy(Allowing(upstream.port()));
  auto [fd, head] = proxy.Tunnel(Authority(upstream.port()));
  std::string data = MakeClientHello("allowed.example.com");
  for (int i = 0; data.size() < (16u << 20); ++i) data += static_cast<char>(i * 31 + (i >> 8));
  int raw = fd.get();
  std::thread sender([&, raw] { SendAll(raw, data); });
  EXPECT_TRUE(ReadExactly(raw, data.size()) == data);
  sender.join();
}

}  // namespace
}  // namespace writ::egress::test
