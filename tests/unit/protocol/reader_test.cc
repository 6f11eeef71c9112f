// Typed reading at the edge (L3): every mistake is named with its place, and none is repaired.
#include "exact_time.h"
#include "support.h"

namespace writ::json {
namespace {

std::vector<std::string> Read(std::string_view text,
                              const std::function<void(ObjectReader&)>& read) {
  const Value value = Parse(text).value();
  Issues issues;
  ObjectReader reader(issues, value);
  read(reader);
  std::vector<std::string> out;
  for (const Issue& issue : issues.list()) out.push_back(issue.code + " " + issue.pointer);
  return out;
}

TEST(ObjectReader, NamesEveryMistakeOfADocumentInOnePass) {  // L3
  const auto issues = Read(
      R"({"a":1,"b":"x","c":null,"d":1.5,"list":["x",2],"o":{"z":1},"time":"2026-01-01T00:00:00Z","more":0})",
      [](ObjectReader& reader) {
        reader.String("a");
        reader.Integer("b");
        reader.OptionalBool("c");
        reader.Integer("d");
        reader.Strings("list");
        ObjectReader child = reader.Child("o");
        child.String("y");
        child.RefuseUnknown();
        reader.Time("time");
        reader.String("absent");
        reader.RefuseUnknown();
      });
  EXPECT_EQ(issues, (std::vector<std::string>{
                        "object.type /a", "object.type /b", "object.type /c", "object.type /d",
                        "object.type /list/1", "object.missing /o/y", "object.unknown /o/z",
                        "object.time /time", "object.missing /absent", "object.unknown /more"}));
}

TEST(ObjectReader, RefusesWordsOutsideTheirTable) {  // L3
  EXPECT_EQ(
      Read(R"({"disclosure":"everything"})",
           [](ObjectReader& reader) { reader.Enum("disclosure", protocol::kDisclosureTable); }),
      (std::vector<std::string>{"object.enum /disclosure"}));
}

TEST(ObjectReader, AMissingObjectIsOneIssueNotOnePerMember) {
  EXPECT_EQ(Read("{}",
                 [](ObjectReader& reader) {
                   ObjectReader child = reader.Child("o");
                   child.String("a");
                   child.String("b");
                 }),
            (std::vector<std::string>{"object.missing /o"}));
}

TEST(ExactTime, AgreesWithTheFormatterAndTakesNoOtherForm) {
  for (const std::int64_t ms :
       {0ll, 951782400123ll, 1782104748993ll, 4102444799999ll, -1ll, 68256000000ll}) {
    const std::string text = FormatRfc3339(WallTime{ms});
    ASSERT_TRUE(ExactTime(text)) << text;
    EXPECT_EQ(ExactTime(text)->unix_ms, ms) << text;
  }
  for (const char* text :
       {"2026-06-22T05:05:48Z", "2026-06-22T05:05:48.9930Z", "2026-06-22t05:05:48.993z",
        "2026-02-29T05:05:48.993Z", "2026-06-22T24:00:00.000Z", "2026-06-22T23:59:60.000Z",
        "2026-13-01T00:00:00.000Z", "2026-06-22T05:05:48.993+00:00", ""}) {
    EXPECT_FALSE(ExactTime(text)) << text;
  }
}

}  // namespace
}  // namespace writ::json
