// Plain HTTP through the real process.
#include <sys/socket.h>

#include "proxy_fixture.h"

namespace writ::egress::test {
namespace {

constexpr const char* kHello =
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Up: 1\r\nConnection: close\r\n\r\nhello";

std::string Get(const std::string& authority, const std::string& extra = "") {
  return "GET http://" + authority + "/probe HTTP/1.1\r\nHost: " + authority + "\r\n" + extra +
         "\r\n";
}

ProxyConfig Allowing(std::uint16_t port) {
  ProxyConfig config = Proxy::LoopbackConfig();
  config.rules.rules.push_back(Allow("allow.test", "allowed.example.com", port));
  return config;
}

std::string Authority(std::uint16_t port) {
  return "allowed.example.com:" + std::to_string(port);
}

TEST(ProxyHttp, ForwardsAnAllowedGetAndRecordsDecisionAndFlow) {
  std::string seen_head;
  Upstream upstream([&](int fd) {
    seen_head = ReadHead(fd);
    SendAll(fd, kHello);
  });
  Proxy proxy(Allowing(upstream.port()));
  std::string answer = proxy.RoundTrip(
      Get(Authority(upstream.port()), "Proxy-Connection: keep-alive\r\nX-Mine: 2\r\n"));
  EXPECT_EQ(StatusOf(answer), 200) << answer;
  EXPECT_TRUE(answer.ends_with("hello"));
  EXPECT_EQ(HeaderOf(answer, "X-Up"), "1");
  EXPECT_TRUE(seen_head.starts_with("GET /probe HTTP/1.1\r\n")) << seen_head;
  EXPECT_EQ(HeaderOf(seen_head, "Host"), Authority(upstream.port()));
  EXPECT_EQ(HeaderOf(seen_head, "X-Mine"), "2");
  EXPECT_EQ(seen_head.find("Proxy-Connection"), std::string::npos);
  ClosingReport report = proxy.Stop();
  EXPECT_EQ(report.status, ClosingReport::Status::kReconciled)
      << ::testing::PrintToString(report.differences);
  EXPECT_EQ(report.resolver_overrides, std::vector<std::string>{"allowed.example.com"});
  auto decisions = proxy.Seen<DecisionEvent>();
  ASSERT_EQ(decisions.size(), 1u);
  EXPECT_TRUE(decisions[0].allowed);
  EXPECT_EQ(decisions[0].host, "allowed.example.com");
  EXPECT_EQ(decisions[0].rule_id, "allow.test");
  EXPECT_EQ(decisions[0].addresses, std::vector<std::string>{"127.0.0.1"});
  auto flows = proxy.Seen<FlowEvent>();
  ASSERT_EQ(flows.size(), 1u);
  EXPECT_EQ(flows[0].flow, decisions[0].flow);
  EXPECT_EQ(flows[0].dialled, "127.0.0.1");
  EXPECT_EQ(flows[0].close_reason, "done");
  EXPECT_GT(flows[0].bytes_up, 0u);
  EXPECT_GT(flows[0].duration_us, 0u);  // L17
}

TEST(ProxyHttp, AnswersADeniedHostWith403NamingTheRuleOfTheEvent) {  // L28, L5
  Proxy proxy(Proxy::LoopbackConfig());
  std::string answer = proxy.RoundTrip(Get("denied.example.com"));
  EXPECT_EQ(StatusOf(answer), 403) << answer;
  EXPECT_EQ(HeaderOf(answer, "X-Writ-Denied"), "no-rule");
  EXPECT_EQ(proxy.Stop().status, ClosingReport::Status::kReconciled);
  auto decisions = proxy.Seen<DecisionEvent>();
  ASSERT_EQ(decisions.size(), 1u);
  EXPECT_FALSE(decisions[0].allowed);
  EXPECT_EQ(decisions[0].rule_id, HeaderOf(answer, "X-Writ-Rule"));
  EXPECT_NE(answer.find("\"rule\":\"default\""), std::string::npos);
}

TEST(ProxyHttp, DeniesANameThatLeadsToAPrivateAddress) {  // L22: what rebinding looks like
  ProxyConfig config;
  config.rules.rules.push_back(Allow("allow.all", "*.example.com"));
  config.resolver_overrides.push_back(
      {"rebound.example.com", {IpAddress::V4(93, 184, 216, 34), IpAddress::V4(10, 0, 0, 1)}});
  Proxy proxy(std::move(config));
  std::string answer = proxy.RoundTrip(Get("rebound.example.com"));
  EXPECT_EQ(StatusOf(answer), 403);
  EXPECT_EQ(HeaderOf(answer, "X-Writ-Denied"), "address-class");
  EXPECT_EQ(HeaderOf(answer, "X-Writ-Rule"), "allow.all");
}

TEST(ProxyHttp, DeniesItsOwnListenerEvenWhereTheRangeIsGranted) {  // L22
  ProxyConfig config = Proxy::LoopbackConfig();
  BoundListener second = ListenOnLoopback();
  std::uint16_t port = second.port;
  config.rules.rules.push_back(Allow("allow.self", "allowed.example.com", port));
  Proxy proxy(std::move(config));
  ASSERT_TRUE(
      proxy.process().AddListener(std::move(second.fd), ListenerReach::kPrivate).has_value());
  std::string answer = proxy.RoundTrip(Get(Authority(port)));
  EXPECT_EQ(StatusOf(answer), 403);
  EXPECT_EQ(HeaderOf(answer, "X-Writ-Denied"), "protected");
}

TEST(ProxyHttp, KeepsTheClientConnectionOverSeveralExchanges) {
  Upstream upstream(AnswerWith("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
  Proxy proxy(Allowing(upstream.port()));
  UniqueFd fd = proxy.Connect();
  for (int i = 0; i < 3; ++i) {
    SendAll(fd.get(), Get(Authority(upstream.port())));
    std::string head = ReadHead(fd.get());
    EXPECT_EQ(StatusOf(head), 200);
    EXPECT_EQ(HeaderOf(head, "Connection"), "keep-alive");
    EXPECT_EQ(ReadExactly(fd.get(), 2), "ok");
  }
  // A denial does not end the connection either.
  SendAll(fd.get(), Get("denied.example.com"));
  std::string head = ReadHead(fd.get());
  EXPECT_EQ(StatusOf(head), 403);
  ReadExactly(fd.get(), std::stoul(HeaderOf(head, "Content-Length")));
  SendAll(fd.get(), Get(Authority(upstream.port()), "Connection: close\r\n"));
  EXPECT_EQ(StatusOf(ReadUntilEof(fd.get())), 200);
  EXPECT_EQ(upstream.connections(), 4);
}

TEST(ProxyHttp, CarriesChunkedBodiesBothWaysWithoutExtensionsAndTrailers) {
  std::string body;
  Upstream upstream([&](int fd) {
    ReadHead(fd);
    char c;
    while (!body.ends_with("0\r\n\r\n") && ::recv(fd, &c, 1, 0) == 1) body += c;
    SendAll(fd,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nTrailer-Up: "
            "1\r\n\r\n");
  });
  Proxy proxy(Allowing(upstream.port()));
  std::string answer =
      proxy.RoundTrip("POST http://" + Authority(upstream.port()) +
                      "/ HTTP/1.1\r\nHost: " + Authority(upstream.port()) +
                      "\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nT: 1\r\n\r\n");
  EXPECT_EQ(body, "5\r\nhello\r\n0\r\n\r\n");
  EXPECT_EQ(StatusOf(answer), 200);
  EXPECT_TRUE(answer.ends_with("\r\n\r\n3\r\nabc\r\n0\r\n\r\n")) << answer;
}

TEST(ProxyHttp, PassesInterimResponsesAndContinuesTheBody) {
  std::string body;
  Upstream upstream([&](int fd) {
    std::string head = ReadHead(fd);
    EXPECT_EQ(HeaderOf(head, "Expect"), "100-continue");
    SendAll(fd, "HTTP/1.1 100 Continue\r\n\r\n");
    body = ReadExactly(fd, 4);
    SendAll(fd, "HTTP/1.1 204 No Content\r\n\r\n");
  });
  Proxy proxy(Allowing(upstream.port()));
  UniqueFd fd = proxy.Connect();
  SendAll(fd.get(), "PUT http://" + Authority(upstream.port()) +
                        "/ HTTP/1.1\r\nHost: " + Authority(upstream.port()) +
                        "\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(StatusOf(ReadHead(fd.get())), 100);
  SendAll(fd.get(), "data");
  std::string head = ReadHead(fd.get());
  EXPECT_EQ(StatusOf(head), 204);
  EXPECT_EQ(HeaderOf(head, "Content-Length"), "");
  EXPECT_EQ(body, "data");
}

TEST(ProxyHttp, AnswersHeadWithoutABodyAndKeepsTheConnection) {
  Upstream upstream(AnswerWith("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"));
  Proxy proxy(Allowing(upstream.port()));
  UniqueFd fd = proxy.Connect();
  for (int i = 0; i < 2; ++i) {
    SendAll(fd.get(), "HEAD http://" + Authority(upstream.port()) +
                          "/ HTTP/1.1\r\nHost: " + Authority(upstream.port()) + "\r\n\r\n");
    std::string head = ReadHead(fd.get());
    EXPECT_EQ(StatusOf(head), 200);
    EXPECT_EQ(HeaderOf(head, "Content-Length"), "99");
  }
}

TEST(ProxyHttp, GivesAnHttp10ClientABodyThatEndsWithTheConnection) {
  Upstream upstream(
      AnswerWith("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"));
  Proxy proxy(Allowing(upstream.port()));
  std::string answer =
      proxy.RoundTrip("GET http://" + Authority(upstream.port()) + "/ HTTP/1.0\r\n\r\n");
  EXPECT_EQ(StatusOf(answer), 200);
  EXPECT_TRUE(answer.ends_with("\r\n\r\nabc")) << answer;
}

struct Refused {
  const char* name;
  std::string request;
  int status;
};

TEST(ProxyHttp, RefusesSmugglingShapesBeforeAnythingIsDialled) {  // L29
  Upstream upstream(AnswerWith(kHello));
  Proxy proxy(Allowing(upstream.port()));
  std::string a = Authority(upstream.port());
  std::string start = "POST http://" + a + "/ HTTP/1.1\r\nHost: " + a + "\r\n";
  const Refused cases[] = {
      {"CL and TE", start + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
       400},
      {"two lengths", start + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400},
      {"list of lengths", start + "Content-Length: 5, 5\r\n\r\nhello", 400},
      {"TE twice",
       start + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501},
      {"TE not chunked", start + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
      {"bare LF", "GET http://" + a + "/ HTTP/1.1\nHost: " + a + "\n\n", 400},
      {"obs-fold", start + "X: a\r\n b\r\n\r\n", 400},
      {"space before colon", start + "Content-Length : 5\r\n\r\nhello", 400},
      {"Host differs", "GET http://" + a + "/ HTTP/1.1\r\nHost: other.example.com\r\n\r\n", 400},
      {"two Hosts", "GET http://" + a + "/ HTTP/1.1\r\nHost: " + a + "\r\nHost: " + a + "\r\n\r\n",
       400},
      {"no Host", "GET http://" + a + "/ HTTP/1.1\r\n\r\n", 400},
      {"origin form", "GET / HTTP/1.1\r\nHost: " + a + "\r\n\r\n", 400},
      {"https by GET", "GET https://" + a + "/ HTTP/1.1\r\nHost: " + a + "\r\n\r\n", 400},
      {"user info", "GET http://u:p@" + a + "/ HTTP/1.1\r\nHost: " + a + "\r\n\r\n", 400},
      {"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
      {"Connection names Host", start + "Connection: host\r\n\r\n", 400},
      {"CONNECT with a body",
       "CONNECT " + a + " HTTP/1.1\r\nHost: " + a + "\r\nContent-Length: 3\r\n\r\nabc", 400},
  };
  for (const Refused& c : cases) {
    std::string answer = proxy.RoundTrip(c.request);
    EXPECT_EQ(StatusOf(answer), c.status) << c.name << ": " << answer;
    EXPECT_NE(HeaderOf(answer, "X-Writ-Refused"), "") << c.name;
  }
  EXPECT_EQ(upstream.connections(), 0);
  ClosingReport report = proxy.Stop();
  EXPECT_EQ(report.counters.malformed, std::size(cases));
  EXPECT_EQ(proxy.Seen<RefusalEvent>().size(), std::size(cases));
  EXPECT_EQ(report.status, ClosingReport::Status::kReconciled)
      << ::testing::PrintToString(report.differences);
}

TEST(ProxyHttp, RefusesEverySpellingOfLoopbackAsHost) {  // L21
  Proxy proxy(Proxy::LoopbackConfig());
  for (const char* host :
       {"127.1", "0x7f.0.0.1", "017700000001", "2130706433", "127.0.0.1.", "[::ffff:127.0.0.1]",
        "[::1]", "127.0.0.1", "localhost", "%31%32%37.0.0.1", "169.254.169.254",
        "allowed.example.com..", "a_b..c"}) {
    std::string answer = proxy.RoundTrip(Get(host));
    EXPECT_EQ(StatusOf(answer), 403) << host << ": " << answer;
  }
}

TEST(ProxyHttp, RefusesMalformedResponsesWith502) {  // L29, L10
  for (const char* response :
       {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\nX: 1\n\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", "nonsense\r\n\r\n",
        "", "HTTP/1.1 101 Switching\r\n\r\n", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n"}) {
    Upstream upstream(AnswerWith(response));
    Proxy proxy(Allowing(upstream.port()));
    std::string answer = proxy.RoundTrip(Get(Authority(upstream.port()), "X-Secret: s3cr3t\r\n"));
    EXPECT_EQ(StatusOf(answer), 502) << response << " -> " << answer;
    EXPECT_EQ(answer.find("s3cr3t"), std::string::npos);
    EXPECT_EQ(answer.find("/probe"), std::string::npos);
    EXPECT_EQ(proxy.Stop().status, ClosingReport::Status::kReconciled);
  }
}

TEST(ProxyHttp, AnswersARefusedConnectionWith502AndRecordsTheFlow) {  // L10
  std::uint16_t port;
  {
    BoundListener gone = ListenOnLoopback();
    port = gone.port;
  }
  Proxy proxy(Allowing(port));
  std::string answer = proxy.RoundTrip(Get(Authority(port)));
  EXPECT_EQ(StatusOf(answer), 502);
  EXPECT_NE(answer.find("connect-failed"), std::string::npos);
  ClosingReport report = proxy.Stop();
  EXPECT_EQ(report.counters.upstream_failed, 1u);
  EXPECT_EQ(report.status, ClosingReport::Status::kReconciled);
  ASSERT_EQ(proxy.Seen<FlowEvent>().size(), 1u);
  EXPECT_EQ(proxy.Seen<FlowEvent>()[0].close_reason, "connect-failed");
}

TEST(ProxyHttp, ClosesAHeadThatDripsInWith408) {  // slow loris; L19
  ProxyConfig config = Proxy::LoopbackConfig();
  config.limits.head = std::chrono::milliseconds(50);
  Proxy proxy(std::move(config));
  UniqueFd fd = proxy.Connect();
  SendAll(fd.get(), "GET http://allowed.example.com/ HT");
  std::string answer = ReadUntilEof(fd.get());
  EXPECT_EQ(StatusOf(answer), 408) << answer;
  EXPECT_EQ(HeaderOf(answer, "X-Writ-Refused"), "http.head_timeout");
}

TEST(ProxyHttp, ClosesAnIdleConnectionAndASilentUpstream) {
  Upstream upstream([](int fd) { ReadUntilEof(fd); });
  ProxyConfig config = Allowing(upstream.port());
  config.limits.idle = std::chrono::milliseconds(50);
  Proxy proxy(std::move(config));
  UniqueFd idle = proxy.Connect();
  EXPECT_EQ(ReadUntilEof(idle.get()), "");
  UniqueFd waiting = proxy.Connect();
  SendAll(waiting.get(), Get(Authority(upstream.port())));
  EXPECT_EQ(StatusOf(ReadUntilEof(waiting.get())), 504);
  ASSERT_TRUE(proxy.WaitFor([](const auto& events) {
    return std::any_of(events.begin(), events.end(),
                       [](const ProxyEvent& e) { return std::holds_alternative<FlowEvent>(e); });
  }));
  EXPECT_EQ(proxy.Seen<FlowEvent>()[0].close_reason, "idle-timeout");
}

TEST(ProxyHttp, BoundsOneExchangeByTheTotalLimit) {  // L19
  Upstream upstream([](int fd) {
    ReadHead(fd);
    SendAll(fd, "HTTP/1.1 200 OK\r\n\r\n");
    char c = 'x';
    while (::send(fd, &c, 1, MSG_NOSIGNAL) == 1) {
    }
  });
  ProxyConfig config = Allowing(upstream.port());
  config.limits.total = std::chrono::milliseconds(100);
  Proxy proxy(std::move(config));
  UniqueFd fd = proxy.Connect();
  SendAll(fd.get(), Get(Authority(upstream.port())));
  EXPECT_EQ(StatusOf(ReadUntilEof(fd.get())), 200);
  ASSERT_TRUE(proxy.WaitFor([](const auto& events) { return events.size() == 2; }));
  EXPECT_EQ(proxy.Seen<FlowEvent>()[0].close_reason, "total-timeout");
}

TEST(ProxyHttp, RefusesHeadsOverTheLimits) {
  ProxyConfig config = Proxy::LoopbackConfig();
  config.limits.head_bytes = 2048;
  config.limits.header_count = 8;
  Proxy proxy(std::move(config));
  EXPECT_EQ(
      StatusOf(proxy.RoundTrip(Get("denied.example.com", "X: " + std::string(4096, 'a') + "\r\n"))),
      431);
  std::string many;
  for (int i = 0; i < 20; ++i) many += "X: 1\r\n";
  EXPECT_EQ(StatusOf(proxy.RoundTrip(Get("denied.example.com", many))), 431);
}

TEST(ProxyHttp, PassesALargeBodyWhole) {
  std::string large(8 << 20, 'z');
  Upstream upstream([&](int fd) {
    std::string head = ReadHead(fd);
    std::string body = ReadExactly(fd, large.size());
    SendAll(fd, "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n");
    SendAll(fd, body);
  });
  Proxy proxy(Allowing(upstream.port()));
  UniqueFd fd = proxy.Connect();
  std::thread sender([&] {
    SendAll(fd.get(), "POST http://" + Authority(upstream.port()) +
                          "/ HTTP/1.1\r\nHost: " + Authority(upstream.port()) +
                          "\r\nContent-Length: " + std::to_string(large.size()) + "\r\n\r\n");
    SendAll(fd.get(), large);
  });
  EXPECT_EQ(StatusOf(ReadHead(fd.get())), 200);
  EXPECT_TRUE(ReadExactly(fd.get(), large.size()) == large);
  sender.join();
}

}  // namespace
}  // namespace writ::egress::test
