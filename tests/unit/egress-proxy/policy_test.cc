#include <gtest/gtest.h>

#include "writ/egress/decision.h"
#include "writ/egress/rules.h"

namespace writ::egress {
namespace {

HostName Host(std::string_view text) {
  return HostName::Normalise(text).value();
}
HostPattern Pattern(std::string_view text) {
  return HostPattern::Parse(text).value();
}
Rule Make(std::string id, std::string_view host, std::optional<std::uint16_t> port = std::nullopt,
          Rule::Effect effect = Rule::Effect::kAllow) {
  return Rule{std::move(id), effect, Pattern(host), port, {}};
}
Target Https(std::string_view host, std::uint16_t port = 443) {
  return {Protocol::kConnect, Host(host), port};
}
Target Http(std::string_view host, std::uint16_t port = 80) {
  return {Protocol::kHttp, Host(host), port};
}
AddressClass ClassOf(std::string_view text) {
  return Classify(IpAddress::Parse(text).value());
}

TEST(Address, ClassifiesEverySpecialRange) {  // L22
  const std::pair<const char*, AddressClass> cases[] = {
      {"0.0.0.0", AddressClass::kUnspecified},
      {"0.1.2.3", AddressClass::kThisNetwork},
      {"10.0.0.0", AddressClass::kPrivate},
      {"10.255.255.255", AddressClass::kPrivate},
      {"172.16.0.0", AddressClass::kPrivate},
      {"172.31.255.255", AddressClass::kPrivate},
      {"192.168.0.1", AddressClass::kPrivate},
      {"100.64.0.0", AddressClass::kCarrierGradeNat},
      {"100.127.255.255", AddressClass::kCarrierGradeNat},
      {"127.0.0.1", AddressClass::kLoopback},
      {"127.255.255.255", AddressClass::kLoopback},
      {"169.254.0.1", AddressClass::kLinkLocal},
      {"169.254.169.254", AddressClass::kMetadata},
      {"169.254.170.2", AddressClass::kMetadata},
      {"100.100.100.200", AddressClass::kMetadata},
      {"168.63.129.16", AddressClass::kMetadata},
      {"192.0.0.1", AddressClass::kReserved},
      {"192.0.2.1", AddressClass::kDocumentation},
      {"198.51.100.1", AddressClass::kDocumentation},
      {"203.0.113.1", AddressClass::kDocumentation},
      {"198.18.0.1", AddressClass::kBenchmarking},
      {"198.19.255.255", AddressClass::kBenchmarking},
      {"192.88.99.1", AddressClass::k6to4},
      {"224.0.0.1", AddressClass::kMulticast},
      {"239.255.255.255", AddressClass::kMulticast},
      {"240.0.0.1", AddressClass::kReserved},
      {"255.255.255.255", AddressClass::kBroadcast},
      {"::", AddressClass::kUnspecified},
      {"::1", AddressClass::kLoopback},
      {"::2", AddressClass::kV4Compatible},
      {"::7f00:1", AddressClass::kV4Compatible},
      {"::ffff:8.8.8.8", AddressClass::kV4Mapped},
      {"::ffff:127.0.0.1", AddressClass::kV4Mapped},
      {"64:ff9b::7f00:1", AddressClass::kNat64},
      {"64:ff9b:1::1", AddressClass::kNat64},
      {"2002:7f00:1::", AddressClass::k6to4},
      {"2001::1", AddressClass::kTeredo},
      {"2001:db8::1", AddressClass::kDocumentation},
      {"3fff::1", AddressClass::kDocumentation},
      {"2001:2::1", AddressClass::kBenchmarking},
      {"2001:20::1", AddressClass::kReserved},
      {"fc00::1", AddressClass::kUniqueLocal},
      {"fd00::1", AddressClass::kUniqueLocal},
      {"fd00:ec2::254", AddressClass::kMetadata},
      {"fe80::1", AddressClass::kLinkLocal},
      {"febf::1", AddressClass::kLinkLocal},
      {"fec0::1", AddressClass::kSiteLocal},
      {"ff02::1", AddressClass::kMulticast},
      {"100::1", AddressClass::kReserved},
      {"4000::1", AddressClass::kReserved},
  };
  for (const auto& [text, expected] : cases)
    EXPECT_EQ(ClassOf(text), expected) << text << " " << AddressClassName(ClassOf(text));
}

TEST(Address, LeavesTheNeighboursOfSpecialRangesPublic) {  // L42: both ends
  for (const char* text :
       {"9.255.255.255",   "11.0.0.0",        "100.63.255.255",       "100.128.0.0",
        "126.255.255.255", "128.0.0.0",       "169.253.255.255",      "169.255.0.0",
        "172.15.255.255",  "172.32.0.0",      "192.167.255.255",      "192.169.0.0",
        "198.17.255.255",  "198.20.0.0",      "223.255.255.255",      "1.0.0.0",
        "8.8.8.8",         "2606:4700::1111", "2001:4860:4860::8888", "2003::1",
        "2001:200::1"})
    EXPECT_EQ(ClassOf(text), AddressClass::kPublic) << text;
}

TEST(Address, ReadsOnlyCanonicalText) {
  for (const char* text : {"1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.256", "1.2.3.4 ", "0x1.2.3.4",
                           "", "1..2.3", "::1%lo", "[::1]", "1:2"})
    EXPECT_FALSE(IpAddress::Parse(text)) << text;
  EXPECT_EQ(IpAddress::Parse("2001:0DB8::0001")->ToString(), "2001:db8::1");
}

TEST(Cidr, RefusesHostBitsAndOddPrefixes) {
  EXPECT_TRUE(Cidr::Parse("10.0.0.0/8"));
  EXPECT_EQ(Cidr::Parse("10.1.2.3")->prefix_bits, 32);
  for (const char* text : {"10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/08", "10.0.0.0/-1",
                           "10.0.0.0/+8", "::1/64", "x/8"})
    EXPECT_FALSE(Cidr::Parse(text)) << text;
  EXPECT_TRUE(Cidr::Parse("0.0.0.0/0")->Contains(*IpAddress::Parse("255.255.255.255")));
  EXPECT_FALSE(Cidr::Parse("0.0.0.0/0")->Contains(*IpAddress::Parse("::1")));
  EXPECT_FALSE(Cidr::Parse("10.0.0.0/9")->Contains(*IpAddress::Parse("10.128.0.0")));
}

TEST(HostPattern, WildcardMatchesBelowTheApexOnly) {
  EXPECT_TRUE(Pattern("*.example.com").Matches(Host("a.example.com")));
  EXPECT_TRUE(Pattern("*.example.com").Matches(Host("a.b.example.com")));
  EXPECT_FALSE(Pattern("*.example.com").Matches(Host("example.com")));
  EXPECT_FALSE(Pattern("*.example.com").Matches(Host("badexample.com")));
  EXPECT_FALSE(Pattern("*.example.com").Matches(Host("example.com.evil.org")));
  for (const char* text : {"*.com", "*", "*.", "a.*.com", "**.example.com", "*.127.0.0.1",
                           "*example.com", "*.*.example.com"})
    EXPECT_FALSE(HostPattern::Parse(text).has_value()) << text;
}

TEST(Policy, DeniesEverythingByAnEmptyList) {  // L5
  RuleSet rules;
  EXPECT_FALSE(DecideHost(rules, Https("example.com")).allowed);
  EXPECT_EQ(DecideHost(rules, Https("example.com")).rule_id, "default");
  auto narrowed = Narrow({}, OperatorEgress{});
  EXPECT_FALSE(DecideHost(*narrowed, Https("example.com")).allowed);
}

TEST(Policy, UsesDefaultPortsUnlessTheRuleNamesOne) {
  RuleSet rules;
  rules.rules = {Make("a", "example.com"), Make("b", "other.com", 8443)};
  EXPECT_TRUE(DecideHost(rules, Https("example.com")).allowed);
  EXPECT_TRUE(DecideHost(rules, Http("example.com")).allowed);
  EXPECT_EQ(DecideHost(rules, Https("example.com", 22)).reason, Reason::kPort);
  EXPECT_EQ(DecideHost(rules, Https("example.com", 80)).reason, Reason::kPort);
  EXPECT_EQ(DecideHost(rules, Http("example.com", 443)).reason, Reason::kPort);
  EXPECT_TRUE(DecideHost(rules, Https("other.com", 8443)).allowed);
  EXPECT_EQ(DecideHost(rules, Https("other.com")).rule_id, "b");
}

TEST(Policy, DecidesByTheFirstMatchingRule) {  // L28
  RuleSet rules;
  rules.rules = {Make("deny", "secret.example.com", std::nullopt, Rule::Effect::kDeny),
                 Make("allow", "*.example.com")};
  EXPECT_EQ(DecideHost(rules, Https("secret.example.com")).rule_id, "deny");
  EXPECT_EQ(DecideHost(rules, Https("secret.example.com", 8080)).reason, Reason::kRuleDenies);
  EXPECT_TRUE(DecideHost(rules, Https("a.example.com")).allowed);
  std::swap(rules.rules[0], rules.rules[1]);
  EXPECT_TRUE(DecideHost(rules, Https("secret.example.com")).allowed);
}

TEST(Policy, TakesAnAddressOnlyWhereARuleNamesIt) {
  RuleSet rules;
  rules.rules = {Make("all", "*.example.com"), Make("one", "93.184.216.34")};
  EXPECT_TRUE(DecideHost(rules, Https("93.184.216.34")).allowed);
  EXPECT_EQ(DecideHost(rules, Https("93.184.216.35")).reason, Reason::kLiteralAddress);
  rules.unmatched = Unmatched::kAllowPublic;
  EXPECT_EQ(DecideHost(rules, Https("93.184.216.35")).reason, Reason::kLiteralAddress);
  EXPECT_TRUE(DecideHost(rules, Https("anything.org")).allowed);
  EXPECT_EQ(DecideHost(rules, Https("anything.org", 25)).reason, Reason::kPort);
}

TEST(Policy, DeniesAddressesThatNoGrantNames) {  // L22
  RuleSet rules;
  rules.rules = {Make("a", "example.com"), Make("lit", "127.0.0.1")};
  Target target = Https("example.com");
  Decision host = DecideHost(rules, target);
  auto decide = [&](std::initializer_list<const char*> texts) {
    std::vector<IpAddress> addresses;
    for (const char* text : texts) addresses.push_back(IpAddress::Parse(text).value());
    return DecideAddresses(rules, host, target, addresses);
  };
  EXPECT_TRUE(decide({"93.184.216.34", "2606:4700::1"}).allowed);
  EXPECT_EQ(decide({"93.184.216.34", "10.0.0.1"}).reason,
            Reason::kAddressClass);  // mixed: rebinding
  EXPECT_EQ(decide({"169.254.169.254"}).detail, "169.254.169.254 is metadata");
  EXPECT_EQ(decide({"::ffff:93.184.216.34"}).reason, Reason::kAddressClass);
  EXPECT_EQ(decide({}).reason, Reason::kNoAddress);
  EXPECT_EQ(decide({"10.0.0.1"}).rule_id, "a");
  rules.address_grants.push_back({"grant", Cidr::Parse("10.0.0.0/24").value()});
  EXPECT_TRUE(decide({"10.0.0.1"}).allowed);
  EXPECT_FALSE(decide({"10.0.1.1"}).allowed);
  // Naming the literal is not naming the range.
  Target literal = Https("127.0.0.1");
  EXPECT_EQ(
      DecideAddresses(rules, DecideHost(rules, literal), literal, {IpAddress::V4(127, 0, 0, 1)})
          .reason,
      Reason::kAddressClass);
}

TEST(Policy, NeverDialsProtectedEndpointsWhateverIsGranted) {  // L22
  RuleSet rules;
  rules.rules = {Make("a", "example.com", 8080)};
  rules.address_grants.push_back({"all", Cidr::Parse("0.0.0.0/0").value()});
  rules.never = {{IpAddress::V4(127, 0, 0, 1), 8080},
                 {IpAddress::V4(93, 184, 216, 34), std::nullopt}};
  Target target = Https("example.com", 8080);
  Decision host = DecideHost(rules, target);
  EXPECT_EQ(DecideAddresses(rules, host, target, {IpAddress::V4(127, 0, 0, 1)}).reason,
            Reason::kProtected);
  EXPECT_EQ(DecideAddresses(rules, host, target, {IpAddress::V4(93, 184, 216, 34)}).reason,
            Reason::kProtected);
  EXPECT_TRUE(DecideAddresses(rules, host, target, {IpAddress::V4(127, 0, 0, 2)}).allowed);
}

TEST(Policy, WantsConnectHostAndServerNameToAgree) {  // L23
  RuleSet rules;
  rules.rules = {Make("a", "example.com")};
  Target target = Https("example.com");
  Decision host = DecideHost(rules, target);
  auto decide = [&](const Decision& d, FirstFlight first) {
    return DecideFirstFlight(d, target, first).reason;
  };
  using Kind = FirstFlight::Kind;
  EXPECT_EQ(decide(host, {Kind::kTls, "EXAMPLE.com", false}), Reason::kAllowed);
  EXPECT_EQ(decide(host, {Kind::kTls, "www.example.com", false}), Reason::kSniMismatch);
  EXPECT_EQ(decide(host, {Kind::kTls, std::nullopt, false}), Reason::kSniMissing);
  EXPECT_EQ(decide(host, {Kind::kTls, "example.com", true}), Reason::kEncryptedHello);
  EXPECT_EQ(decide(host, {Kind::kOther, std::nullopt, false}), Reason::kNotTls);
  host.grants.Add(TunnelGrant::kMissingSni);
  EXPECT_EQ(decide(host, {Kind::kTls, std::nullopt, false}), Reason::kAllowed);
  EXPECT_EQ(decide(host, {Kind::kTls, "other.com", false}), Reason::kSniMismatch);
  host.grants.Add(TunnelGrant::kEncryptedHello);
  EXPECT_EQ(decide(host, {Kind::kTls, "example.com", true}), Reason::kAllowed);
  EXPECT_EQ(decide(host, {Kind::kOther, std::nullopt, false}), Reason::kNotTls);
  host.grants.Add(TunnelGrant::kRawBytes);
  EXPECT_EQ(decide(host, {Kind::kOther, std::nullopt, false}), Reason::kAllowed);
}

TEST(Narrow, NeverAllowsWhatEitherSideRefuses) {  // L6
  const std::vector<std::string> patterns = {"a.example.com",   "*.example.com", "*.b.example.com",
                                             "x.b.example.com", "other.org",     "8.8.8.8"};
  const std::vector<std::string> hosts = {"a.example.com", "example.com",     "z.example.com",
                                          "b.example.com", "x.b.example.com", "y.b.example.com",
                                          "other.org",     "8.8.8.8"};
  for (const std::string& contract : patterns) {
    for (const std::string& op : patterns) {
      OperatorEgress egress;
      egress.rules = std::vector<Rule>{Make("op", op)};
      auto both = Narrow({contract}, egress);
      ASSERT_TRUE(both);
      for (const std::string& host : hosts) {
        bool expected = Pattern(contract).Matches(Host(host)) && Pattern(op).Matches(Host(host));
        EXPECT_EQ(DecideHost(*both, Https(host)).allowed, expected)
            << contract << " with " << op << " on " << host;
      }
    }
  }
}

TEST(Narrow, NamesBothRulesAndKeepsTheOperatorsDenials) {  // L28
  OperatorEgress egress;
  egress.rules =
      std::vector<Rule>{Make("ok", "*.example.com", 8443),
                        Make("no", "bad.example.com", std::nullopt, Rule::Effect::kDeny)};
  auto both = Narrow({"a.example.com", "bad.example.com"}, egress);
  ASSERT_TRUE(both);
  EXPECT_EQ(DecideHost(*both, Https("a.example.com", 8443)).rule_id, "contract.0+ok");
  EXPECT_EQ(DecideHost(*both, Https("bad.example.com", 8443)).rule_id, "no");
  egress.rules = std::vector<Rule>{};
  EXPECT_TRUE(Narrow({"a.example.com"}, egress)->rules.empty());  // L5
  egress.rules.reset();
  EXPECT_EQ(DecideHost(*Narrow({"a.example.com"}, egress), Https("a.example.com")).rule_id,
            "contract.0");
}

TEST(Narrow, GivesTunnelGrantsFromTheOperatorOnly) {
  OperatorEgress egress;
  Rule rule = Make("ssh", "git.example.com", 22);
  rule.grants.Add(TunnelGrant::kRawBytes);
  egress.rules = std::vector<Rule>{rule};
  EXPECT_TRUE(DecideHost(*Narrow({"git.example.com"}, egress), Https("git.example.com", 22))
                  .grants.Has(TunnelGrant::kRawBytes));
  EXPECT_FALSE(DecideHost(*Narrow({"git.example.com"}, OperatorEgress{}), Https("git.example.com"))
                   .grants.Has(TunnelGrant::kRawBytes));
}

TEST(Narrow, RefusesHostsThatAreNone) {
  for (const char* host :
       {"https://example.com", "example.com:443", "example.com/x", "", "*", "0x7f.1"}) {
    auto refused = Narrow({"fine.example.com", host}, OperatorEgress{});
    ASSERT_FALSE(refused) << host;
    EXPECT_EQ(refused.error().code, "egress.contract_host");
    EXPECT_NE(refused.error().message.find("allowHosts/1"), std::string::npos);
  }
}

TEST(Rules, RefuseDoubleIdsAndPortZero) {
  RuleSet rules;
  rules.rules = {Make("a", "example.com"), Make("a", "example.org")};
  EXPECT_EQ(Validate(rules).error().code, "egress.rule_id");
  rules.rules = {Make("default", "example.com")};
  EXPECT_FALSE(Validate(rules));
  rules.rules = {Make("a b", "example.com")};
  EXPECT_FALSE(Validate(rules));
  rules.rules = {Make("a", "example.com", std::uint16_t{0})};
  EXPECT_EQ(Validate(rules).error().code, "egress.rule_port");
}

TEST(Reasons, HaveOneNameEach) {
  for (int i = 0; i <= static_cast<int>(Reason::kOverloaded); ++i) {
    auto reason = static_cast<Reason>(i);
    EXPECT_EQ(ParseReason(ReasonName(reason)), reason);
  }
  EXPECT_FALSE(ParseReason("nonsense"));
}

}  // namespace
}  // namespace writ::egress
