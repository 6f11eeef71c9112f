#include <gtest/gtest.h>

#include "writ/egress/control_message.h"
#include "writ/egress/proxy_config.h"
#include "writ/egress/proxy_event.h"

namespace writ::egress {
namespace {

TEST(ProxyConfig, ComesBackFromItsDocumentAsItWas) {
  ProxyConfig config;
  Rule rule{"a", Rule::Effect::kDeny, HostPattern::Parse("*.example.com").value(), 8443, {}};
  rule.grants.Add(TunnelGrant::kMissingSni);
  config.rules.rules.push_back(rule);
  config.rules.address_grants.push_back({"g", Cidr::Parse("fd00::/8").value()});
  config.rules.never.push_back({IpAddress::V4(1, 2, 3, 4), std::nullopt});
  config.rules.unmatched = Unmatched::kAllowPublic;
  config.resolver_overrides.push_back({"x.example.com", {IpAddress::V4(127, 0, 0, 1)}});
  config.token = Secret("0123456789abcdef");
  config.allowed_uid = 1234;
  config.limits.idle = std::chrono::milliseconds(7);
  std::string document = SerializeConfig(config);
  auto back = ParseConfig(document);
  ASSERT_TRUE(back.has_value()) << back.error().ToString();
  EXPECT_EQ(SerializeConfig(*back), document);
  EXPECT_EQ(back->rules.rules[0].grants, rule.grants);
  EXPECT_EQ(back->limits.idle, std::chrono::milliseconds(7));
}

TEST(ProxyConfig, RefusesUnknownMembersAndBadPlacesByPointer) {  // L3
  std::string document = SerializeConfig(ProxyConfig{});
  std::string extra = document;
  extra.insert(1, "\"odd\":1,");
  EXPECT_FALSE(ParseConfig(extra).has_value());
  std::string rules = document;
  rules.replace(rules.find("\"rules\":[]"), 10,
                "\"rules\":[{\"id\":\"a\",\"effect\":\"allow\",\"host\":\"0x7f.1\"}]");
  auto refused = ParseConfig(rules);
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().ToString().find("/policy/rules/0/host"), std::string::npos)
      << refused.error().ToString();
}

TEST(ProxyUrl, HoldsTheTokenAsPassword) {
  EXPECT_EQ(ProxyUrl(Secret("tok"), 8080).Reveal(), "http://writ:tok@127.0.0.1:8080");
  EXPECT_EQ(ProxyUrl(Secret(), 8080).Reveal(), "http://127.0.0.1:8080");
  EXPECT_NE(NewSessionToken().Reveal(), NewSessionToken().Reveal());
}

TEST(ControlMessage, EveryMessageSurvivesTheWire) {
  DecisionEvent decision{7,   3,   Protocol::kConnect, "h.example", 443, true, Reason::kAllowed,
                         "r", "d", {"1.2.3.4"}};
  FlowEvent flow{8, 3, "h.example", 443, "r", "1.2.3.4", 10, 20, 30, "done"};
  RefusalEvent refusal{9, Reason::kMalformed, "http.bare_lf", 400};
  Counters counters;
  counters.accepted = 5;
  counters.bytes_down = 1ull << 40;
  const ProxyMessage messages[] = {ReadyMessage{},
                                   FailedMessage{"c", "m"},
                                   ListeningMessage{4},
                                   ListenerRefusedMessage{4, "c", "m"},
                                   decision,
                                   flow,
                                   refusal,
                                   CountersMessage{counters},
                                   ClosedMessage{counters, {"x"}}};
  for (const ProxyMessage& message : messages) {
    std::string bytes = Encode(message);
    auto back = DecodeProxyMessage(bytes);
    ASSERT_TRUE(back.has_value()) << bytes;
    EXPECT_EQ(back->index(), message.index());
    EXPECT_EQ(Encode(*back), bytes);
  }
  const RunnerMessage commands[] = {ConfigureMessage{}, ListenerMessage{1, ListenerReach::kPrivate},
                                    StopMessage{}};
  for (const RunnerMessage& message : commands)
    EXPECT_EQ(Encode(DecodeRunnerMessage(Encode(message)).value()), Encode(message));
  EXPECT_FALSE(DecodeProxyMessage("{\"type\":\"rules\"}").has_value());
  EXPECT_FALSE(DecodeProxyMessage("{\"type\":\"ready\",\"x\":1}").has_value());
  EXPECT_FALSE(DecodeRunnerMessage("").has_value());
}

TEST(Reconcile, NamesEveryDifference) {
  Counters counters;
  EXPECT_TRUE(Reconcile(counters, counters).empty());
  Counters seen = counters;
  counters.bytes_up = 5;
  EXPECT_EQ(Reconcile(counters, seen),
            std::vector<std::string>{"bytes up, reported and received: 5 against 0"});
  counters = seen;
  counters.accepted = 1;
  EXPECT_EQ(Reconcile(counters, seen).size(), 1u);
}

TEST(NetworkAccessed, KeepsTheFirstSightOfEachPair) {
  NetworkAccessed accessed;
  DecisionEvent event;
  event.host = "a.example";
  event.allowed = true;
  EXPECT_TRUE(accessed.FirstSight(event));
  EXPECT_FALSE(accessed.FirstSight(event));
  event.allowed = false;
  EXPECT_TRUE(accessed.FirstSight(event));
  event.host = "b.example";
  EXPECT_TRUE(accessed.FirstSight(event));
  std::vector<NetworkAccessed::Entry> expected = {
      {"a.example", true}, {"a.example", false}, {"b.example", false}};
  EXPECT_EQ(accessed.entries(), expected);
}

}  // namespace
}  // namespace writ::egress
