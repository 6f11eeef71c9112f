// Canonical JSON against RFC 8785's own documents and numbers.
#include <cstring>
#include <sstream>

#include "scanner.h"
#include "support.h"
#include "writ/protocol/canonical.h"

namespace writ::json {
namespace {

using protocol::test::ReadText;

// Canonical bytes by the tree and by the tape: always the same.
std::string Both(std::string_view text) {
  const Result<Value> value = Parse(text);
  EXPECT_TRUE(value) << text;
  if (!value) return "";
  Tape tape;
  Scanner scanner(text, {});
  EXPECT_TRUE(scanner.Scan(tape));
  std::string from_tape;
  AppendCanonicalAt(text, tape, 0, from_tape);
  EXPECT_EQ(from_tape, CanonicalBytes(*value));
  return from_tape;
}

TEST(CanonicalJson, AgreesWithTheDocumentsOfTheSpecification) {
  WRIT_REQUIRE_SHARED_TESTDATA("jcs/input");
  std::size_t documents = 0;
  const std::string root = writ::test::SharedDir() + "/testdata/jcs/";
  for (const auto& entry : std::filesystem::directory_iterator(root + "input")) {
    std::string expected = ReadText(root + "output/" + entry.path().filename().string());
    while (!expected.empty() && expected.back() == '\n') expected.pop_back();
    EXPECT_EQ(Both(ReadText(entry.path())), expected) << entry.path();
    ++documents;
  }
  EXPECT_EQ(documents, 6u);
}

TEST(CanonicalJson, FormatsTenThousandDoublesExactly) {
  WRIT_REQUIRE_SHARED_TESTDATA("jcs/es6-numbers-10k.txt");
  std::istringstream in(ReadText(writ::test::SharedDir() + "/testdata/jcs/es6-numbers-10k.txt"));
  std::size_t lines = 0;
  for (std::string line; std::getline(in, line); ++lines) {
    const std::size_t comma = line.find(',');
    const std::uint64_t bits = std::stoull(line.substr(0, comma), nullptr, 16);
    double number = 0;
    std::memcpy(&number, &bits, sizeof(number));
    std::string text;
    AppendNumber(number, text);
    ASSERT_EQ(text, line.substr(comma + 1)) << line;
    double back = 0;
    ASSERT_TRUE(ReadNumber(text, back));
    ASSERT_EQ(back, number) << line;
  }
  EXPECT_EQ(lines, 10000u);
}

TEST(CanonicalJson, AgreesWithTheCrossImplementationSet) {
  WRIT_REQUIRE_SHARED_TESTDATA("jcs/agent-receipts-canonicalization.json");
  const Value set = Parse(ReadText(writ::test::SharedDir() +
                                   "/testdata/jcs/agent-receipts-canonicalization.json"))
                        .value();
  std::size_t cases = 0;
  for (const Value& item : set.Find("canonicalization_vectors")->array()) {
    EXPECT_EQ(CanonicalBytes(*item.Find("input")), item.FindString("canonical").value())
        << *item.FindString("name");
    EXPECT_EQ(Both(Write(*item.Find("input"))), item.FindString("canonical").value());
    ++cases;
  }
  EXPECT_EQ(cases, 32u);
}

TEST(CanonicalJson, SortsByUtf16CodeUnitsNotByBytes) {
  // U+1F600 is the pair D83D DE00 and stands before U+E000 and U+FFFD, though its UTF-8 bytes are
  // larger.
  EXPECT_EQ(Both("{\"\uFFFD\":1,\"\U0001F600\":2,\"\uE000\":3,\"\uD7FF\":4}"),
            "{\"\uD7FF\":4,\"\U0001F600\":2,\"\uE000\":3,\"\uFFFD\":1}");
  EXPECT_EQ(Both(R"({"b":1,"aa":2,"a":3,"":4,"A":5})"), R"({"":4,"A":5,"a":3,"aa":2,"b":1})");
  std::string many = "{";
  for (int i = 0; i < 60; ++i)
    many += (i ? ",\"" : "\"") + std::to_string(i * 37 % 60) + "\":" + std::to_string(i);
  const std::string sorted = Both(many + "}");
  EXPECT_EQ(sorted.substr(0, 12), R"({"0":0,"1":1)");
}

TEST(CanonicalJson, EscapesAreTheShortestAndNumbersLoseTheirSpelling) {
  EXPECT_EQ(Both(R"("\u0041\/\u00e9\u2028\u0008\u001F\u007f\ud83d\ude00")"),
            "\"A/é\u2028\\b\\u001f\x7f\U0001F600\"");
  EXPECT_EQ(Both("[1.0, -0, 1E2, 0.1e1, 1e21, 123456789012345678901, 1e-7, 333333333.33333329]"),
            "[1,0,100,1,1e+21,123456789012345680000,1e-7,333333333.3333333]");
}

TEST(CanonicalJson, WithoutAMemberLeavesOutThatOneOnly) {
  const Value value = Parse(R"({"b":1,"signatures":[1],"a":{"signatures":2}})").value();
  EXPECT_EQ(CanonicalBytesWithout(value, "signatures"), R"({"a":{"signatures":2},"b":1})");
}

}  // namespace
}  // namespace writ::json
