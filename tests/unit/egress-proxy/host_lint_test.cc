#include "writ/egress/host_lint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace writ::egress {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::string> Codes(const std::vector<std::string>& hosts) {
  std::vector<std::string> out;
  for (const HostFinding& finding : LintHosts(hosts)) {
    EXPECT_FALSE(finding.message.empty());
    EXPECT_FALSE(finding.hint.empty());
    out.push_back(std::to_string(finding.index) + " " + finding.code);
  }
  return out;
}

TEST(HostLint, FindsNothingInAnOrdinaryList) {
  EXPECT_THAT(Codes({}), IsEmpty());
  EXPECT_THAT(Codes({"api.example.com", "*.example.org", "192.0.2.7", "[2001:db8::7]:8443"}),
              IsEmpty());
}

TEST(HostLint, FindsWildcardsBelowAPublicSuffix) {
  EXPECT_THAT(Codes({"*.co.uk", "*.github.io:8443", "example.co.uk:8443", "co.uk"}),
              ElementsAre("0 lint.public_suffix", "1 lint.public_suffix"))
      << "a name that is a suffix itself is one host alone";
}

TEST(HostLint, FindsWhatAnotherEntryCovers) {
  EXPECT_THAT(Codes({"a.example.com", "*.example.com"}), ElementsAre("0 lint.shadowed"));
  EXPECT_THAT(Codes({"*.a.example.com", "*.example.com"}), ElementsAre("0 lint.shadowed"));
  EXPECT_THAT(Codes({"A.example.com.", "a.example.com"}), ElementsAre("1 lint.shadowed"))
      << "of two that are the same the first one stays";
  EXPECT_THAT(Codes({"example.com", "*.example.com"}), IsEmpty()) << "the apex is not below itself";
  EXPECT_THAT(Codes({"a.example.com:8443", "*.example.com"}), IsEmpty()) << "other ports";
}

TEST(HostLint, LeavesToTheParserWhatIsNoPattern) {
  EXPECT_THAT(Codes({"", "*.com", "a b", "*", "http://example.com", "a.example.com"}), IsEmpty());
}

}  // namespace
}  // namespace writ::egress
