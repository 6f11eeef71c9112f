// L21: hosts are normalised once, and what is ambiguous is refused.
#include "writ/egress/host_name.h"

#include <gtest/gtest.h>

#include <map>

#include "support/shared_dir.h"
#include "writ/base/file.h"
#include "writ/egress/request_target.h"
#include "writ/protocol/json.h"

namespace writ::egress {
namespace {

std::string Normal(std::string_view raw) {
  auto host = HostName::Normalise(raw);
  return host ? host->text() : "!" + host.error().code;
}

TEST(HostName, LowersCaseAndDropsOneTrailingDot) {
  EXPECT_EQ(Normal("API.Example.COM."), "api.example.com");
  EXPECT_EQ(Normal("a_b.example"), "a_b.example");
  EXPECT_EQ(Normal("example.com.."), "!host.empty_label");
  EXPECT_EQ(Normal("."), "!host.empty_label");
  EXPECT_EQ(Normal(".example.com"), "!host.empty_label");
  EXPECT_EQ(Normal("a..b"), "!host.empty_label");
  EXPECT_EQ(Normal(""), "!host.empty");
}

TEST(HostName, RefusesPercentNulLineBreaksAndWhiteSpace) {
  EXPECT_EQ(Normal("%65xample.com"), "!host.percent");
  EXPECT_EQ(Normal(std::string_view("example.com\0.evil.com", 21)), "!host.control");
  EXPECT_EQ(Normal("example.com\r\nHost: x"), "!host.white_space");
  EXPECT_EQ(Normal(" example.com"), "!host.white_space");
  EXPECT_EQ(Normal("example.com\t"), "!host.white_space");
  EXPECT_EQ(Normal("ex\x7f"), "!host.control");
  EXPECT_EQ(Normal("user@example.com"), "!host.bad_character");
  EXPECT_EQ(Normal("example.com/path"), "!host.bad_character");
  EXPECT_EQ(Normal("*.example.com"), "!host.bad_character");
  EXPECT_EQ(Normal("-a.example"), "!host.hyphen_edge");
}

TEST(HostName, RefusesNonAsciiAndInvalidPunycode) {
  EXPECT_EQ(Normal("b\xc3\xbc"
                   "cher.example"),
            "!host.non_ascii");
  EXPECT_EQ(Normal("example\xe3\x80\x82"
                   "com"),
            "!host.non_ascii");  // ideographic full stop
  EXPECT_EQ(Normal("xn--bcher-kva.example"), "xn--bcher-kva.example");
  EXPECT_EQ(Normal("XN--BCHER-KVA.example"), "xn--bcher-kva.example");
  EXPECT_EQ(Normal("xn--a.example"), "!host.punycode_invalid");
  EXPECT_EQ(Normal("xn--.example"), "!host.hyphen_edge");
  EXPECT_EQ(Normal("xn--example-.com"), "!host.hyphen_edge");
}

TEST(HostName, RefusesNumericIpv4InEverySpellingButTheDottedQuad) {
  EXPECT_EQ(Normal("127.0.0.1"), "127.0.0.1");
  for (const char* spelling :
       {"0177.0.0.1", "0x7f.0.0.1", "0x7f000001", "2130706433", "017700000001", "127.1", "127.0.1",
        "127.0.0.1.", "127.0.0.01", "127.000.000.001", "1.2.3.4.5", "256.1.1.1", "1.2.3.256", "0x",
        "0xg.0x", "a.0x1", "foo.123", "0X7F.1", "4294967296"}) {
    EXPECT_EQ(Normal(spelling), "!host.numeric") << spelling;
  }
}

TEST(HostName, TakesIpv6OnlyInBracketsAndWithoutAZone) {
  EXPECT_EQ(Normal("[2001:DB8::0:1]"), "2001:db8::1");
  EXPECT_EQ(Normal("[::ffff:7f00:1]"), "::ffff:127.0.0.1");
  EXPECT_EQ(Normal("[fe80::1%25eth0]"), "!host.zone");
  EXPECT_EQ(Normal("::1"), "!host.bare_ipv6");
  EXPECT_EQ(Normal("[::1"), "!host.bracket");
  EXPECT_EQ(Normal("[127.0.0.1]"), "!host.bracket");
  EXPECT_EQ(Normal("[1::2::3]"), "!host.bracket");
  EXPECT_EQ(Normal("a[b]"), "!host.bracket");
  EXPECT_EQ(HostName::Normalise("[::1]")->ForAuthority(), "[::1]");
}

TEST(HostName, HoldsTheLengthLimitsOfDns) {
  EXPECT_EQ(Normal(std::string(63, 'a') + ".b"), std::string(63, 'a') + ".b");
  EXPECT_EQ(Normal(std::string(64, 'a') + ".b"), "!host.label_too_long");
  std::string longest;
  for (int i = 0; i < 4; ++i) longest += std::string(62, 'a') + ".";
  longest.pop_back();
  longest += "aa";  // 253
  ASSERT_EQ(longest.size(), 253u);
  EXPECT_EQ(Normal(longest), "!host.label_too_long");  // the last label has 64
  longest.erase(250);
  EXPECT_EQ(Normal(longest + "."), longest);
  EXPECT_EQ(Normal(std::string(300, 'a')), "!host.too_long");
}

TEST(HostName, ErrorsNeverRepeatTheInput) {  // L10
  auto refused = HostName::Normalise("s3cr3t token");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().ToString().find("s3cr3t"), std::string::npos);
}

TEST(PrintableHost, EscapesWhatIsNotPlainAndCutsWhatIsLong) {
  EXPECT_EQ(PrintableHost("a\r\nb%\x80"), "a%0D%0Ab%25%80");
  EXPECT_EQ(PrintableHost(std::string(400, 'x')).size(), 258u);
}

// Why this normaliser refuses a host that a browser takes. Every refusal beyond the test data's own
// has its reason here.
const std::map<std::string, std::string>& StrictReasons() {
  static const std::map<std::string, std::string> reasons = {
      {"host.non_ascii", "HTTP targets are ASCII; mapping Unicode is a second reading of the name"},
      {"host.percent", "decoding percent signs is a second reading of the name"},
      {"host.bad_character", "no DNS host has it, and tools quote it differently"},
      {"host.numeric", "only the dotted quad is read by everybody as the same address"},
      {"host.punycode_invalid", "an xn-- label without a Unicode form reads differently by tool"},
      {"host.hyphen_edge", "no registry hands it out, and resolvers differ"},
      {"host.empty_label", "resolvers differ on empty labels"},
      {"host.label_too_long", "cannot be asked of DNS"},
      {"host.too_long", "cannot be asked of DNS"},
      {"host.white_space", "browsers strip it: a repair"},
      {"host.control", "browsers strip it: a repair"},
      {"host.empty", "there is no host"},
      {"host.bracket", "brackets hold an address only"},
      {"target.scheme", "the proxy takes http only"},
      {"target.not_absolute", "browsers repair missing slashes and turn backslashes"},
      {"target.fragment", "fragments are not sent in requests"},
      {"target.user_info", "user information in targets is refused"},
      {"target.port", "an empty port or leading zeros are two spellings"},
      {"target.empty_host", "browsers skip surplus slashes: a repair"},
      {"target.authority", "holds a character that no authority has"},
      {"http.target", "a backslash is a slash to some readers"},
  };
  return reasons;
}

json::Value ReadTestdata(const std::string& relative) {
  auto text = ReadFile(writ::test::SharedDir() + "/testdata/" + relative, 8u << 20);
  EXPECT_TRUE(text.has_value());
  auto value = json::Parse(*text);
  EXPECT_TRUE(value.has_value()) << (value ? "" : value.error().ToString());
  return value ? std::move(*value) : json::Value();
}

TEST(HostName, AgreesWithTheToAsciiCasesOfTheWebPlatformTests) {
  WRIT_REQUIRE_SHARED_TESTDATA("hosts/wpt-toascii.json");
  json::Value document = ReadTestdata("hosts/wpt-toascii.json");
  int agreed = 0;
  for (const json::Value& c : document.Find("cases")->array()) {
    const std::string& input = c.Find("input")->string();
    const json::Value* output = c.Find("output");
    auto host = HostName::Normalise(input);
    if (output->is_null()) {
      EXPECT_FALSE(host) << input << " must be refused";
      ++agreed;
    } else if (host) {
      std::string expected = output->string();
      if (expected.ends_with('.'))
        expected.pop_back();  // we drop the trailing dot, browsers keep it
      EXPECT_EQ(host->text(), expected) << input;
      ++agreed;
    } else {
      EXPECT_TRUE(StrictReasons().contains(host.error().code))
          << input << ": " << host.error().code;
    }
  }
  EXPECT_GT(agreed, 20);
}

TEST(HostName, AgreesWithTheUrlCasesOfTheWebPlatformTests) {
  WRIT_REQUIRE_SHARED_TESTDATA("hosts/wpt-url.json");
  json::Value document = ReadTestdata("hosts/wpt-url.json");
  int refused = 0;
  int agreed = 0;
  for (const json::Value& c : document.Find("cases")->array()) {
    const std::string& input = c.Find("input")->string();
    auto target = ParseAbsoluteTarget(input);
    std::string code;
    std::optional<HostName> host;
    if (const auto* bad = std::get_if<HttpRefusal>(&target)) {
      code = bad->code;
    } else {
      auto normal = HostName::Normalise(std::get<AbsoluteTarget>(target).authority.host);
      if (normal) {
        host = *normal;
      } else {
        code = normal.error().code;
      }
    }
    if (c.Find("failure") != nullptr) {
      EXPECT_FALSE(host) << input << " must be refused";
      ++refused;
    } else if (host) {
      std::string expected = c.Find("hostname")->string();
      if (expected.ends_with('.')) expected.pop_back();
      if (expected.starts_with('[')) {
        // Browsers write embedded IPv4 in hexadecimal: the same address.
        EXPECT_EQ(host->literal(), IpAddress::Parse(expected.substr(1, expected.size() - 2)))
            << input;
      } else {
        EXPECT_EQ(host->text(), expected) << input;
      }
      ++agreed;
    } else {
      EXPECT_TRUE(StrictReasons().contains(code)) << input << ": " << code;
    }
  }
  EXPECT_GT(refused, 130);
  EXPECT_GT(agreed, 30);
}

}  // namespace
}  // namespace writ::egress
