// What a hostile text can cost a verifier: bytes, values and findings are bounded (L3).
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "scanner.h"
#include "support.h"
#include "writ/base/file.h"

namespace writ::protocol {
namespace {

std::string Repeated(std::string_view piece, std::size_t times) {
  std::string out;
  out.reserve((piece.size() + 1) * times);
  for (std::size_t i = 0; i < times; ++i) out.append(i == 0 ? "" : ",").append(piece);
  return out;
}

class Counter final : public json::ElementHook {
 public:
  Counter() { member = "events"; }
  void OnElement(const json::Tape&, std::uint32_t, std::size_t) override { ++seen; }
  std::size_t seen = 0;
};

TEST(BundleLimits, OnePartWithMillionsOfValuesIsRefusedBeforeAnythingIsBuiltOfIt) {
  const std::string many = Repeated("0", 3'000'000);
  for (const std::string& text : {"{\"contract\":[" + many + "]}", "{\"other\":[" + many + "]}",
                                  "{\"events\":[[" + many + "]]}", "[" + many + "]"}) {
    const VerifyReport report = VerifyBundle(text);
    ASSERT_EQ(report.problems.size(), 1u);
    EXPECT_EQ(report.problems[0].code, "json.too_many_values");
    EXPECT_FALSE(report.ok);
    EXPECT_TRUE(report.facts.empty());
  }
}

TEST(BundleLimits, ValuesOfEventsCountOnlyWhileTheEventIsLookedAt) {
  // Together more than one part may have: a long run stays verifiable.
  const std::string text = "{\"events\":[" + Repeated("[0,0,0,0,0,0,0,0]", 300'000) + "]}";
  const VerifyReport report = VerifyBundle(text);
  EXPECT_FALSE(report.HasProblem("json.too_many_values"));
  EXPECT_TRUE(report.HasProblem("event.malformed"));
}

TEST(BundleLimits, TheScannerCountsAllValuesThoseOfAHookIncluded) {
  const std::string text = "{\"events\":[" + Repeated("0", 98) + "]}";  // 100 values
  json::Tape tape;
  Counter enough, short_by_one;
  json::Scanner allowed(text, {}, &enough, {.in_all = 100});
  EXPECT_TRUE(allowed.Scan(tape)) << allowed.error().ToString();
  EXPECT_EQ(enough.seen, 98u);
  json::Scanner refused(text, {}, &short_by_one, {.in_all = 99});
  EXPECT_FALSE(refused.Scan(tape));
  EXPECT_EQ(refused.error().code, "json.too_many_values");
  EXPECT_EQ(short_by_one.seen, 97u);
}

TEST(BundleLimits, MoreBytesThanAskedForAreRefused) {
  const std::string text = test::MakeRun({}).text;
  EXPECT_TRUE(VerifyBundle(text, {.max_bytes = text.size()}).ok);
  EXPECT_TRUE(VerifyBundle(text, {.max_bytes = text.size() - 1}).HasProblem("json.too_large"));
}

TEST(BundleLimits, ThousandsOfUnknownMembersAreCountedNotListed) {
  std::string extra;
  for (int i = 0; i < 5000; ++i) extra += ",\"x" + std::to_string(i) + "\":0";
  std::string text = test::MakeRun({}).text;
  text.insert(text.size() - 1, extra);
  const VerifyReport report = VerifyBundle(text);
  EXPECT_TRUE(report.ok);
  ASSERT_EQ(report.warnings.size(), 21u);
  EXPECT_EQ(report.warnings.back().message, "no signature covers 4980 more members");
  EXPECT_EQ(json::Write(RenderJson(VerifyBundleValue(*json::Parse(text)))),
            json::Write(RenderJson(report)));
}

TEST(BundleLimits, AFileOverTheLimitIsRefusedUnread) {
  const std::string path = ::testing::TempDir() + "writ-large-" + std::to_string(::getpid());
  const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  ASSERT_TRUE(fd);
  ::unlink(path.c_str());
  ASSERT_EQ(::ftruncate(fd.get(), off_t{1} << 40), 0);
  const Result<std::string> refused = ReadAll(fd.get(), 4096);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "file.too_large");
  EXPECT_EQ(::lseek(fd.get(), 0, SEEK_CUR), 0) << "some of it was read";
  // What is left counts, not what lies before.
  ASSERT_EQ(::lseek(fd.get(), (off_t{1} << 40) - 100, SEEK_SET), (off_t{1} << 40) - 100);
  EXPECT_EQ(ReadAll(fd.get(), 100).value().size(), 100u);
}

}  // namespace
}  // namespace writ::protocol
