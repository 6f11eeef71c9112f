// The strict parser: what it takes, what it refuses, and where it says the mistake is.
#include <algorithm>
#include <chrono>
#include <cmath>

#include "support.h"
#include "writ/protocol/canonical.h"

namespace writ::json {
namespace {

using protocol::test::ReadText;

std::string Code(std::string_view text, const ParseOptions& options = {}) {
  const Result<Value> value = Parse(text, options);
  return value ? "ok" : value.error().code;
}
std::string Message(std::string_view text) {
  const Result<Value> value = Parse(text);
  return value ? "ok" : value.error().message;
}

TEST(JsonParser, RefusesWhatTheProtocolRefusesWithStableCodes) {  // L3
  EXPECT_EQ(Code(R"({"a":1,"a":2})"), "json.duplicate_name");
  EXPECT_EQ(Code(R"({"a":1,"\u0061":2})"), "json.duplicate_name");
  EXPECT_EQ(Code("\"\xC3\""), "json.invalid_utf8");
  EXPECT_EQ(Code("\"\xC0\x80\""), "json.invalid_utf8");
  EXPECT_EQ(Code("\"\xED\xA0\x80\""), "json.invalid_utf8");
  EXPECT_EQ(Code("\"\xF4\x90\x80\x80\""), "json.invalid_utf8");
  EXPECT_EQ(Code(R"("\ud800")"), "json.lone_surrogate");
  EXPECT_EQ(Code(R"("\udc00\ud800")"), "json.lone_surrogate");
  EXPECT_EQ(Code(R"("\ud800\u0041")"), "json.lone_surrogate");
  EXPECT_EQ(Code("1 2"), "json.trailing_bytes");
  EXPECT_EQ(Code("{}\n\x01"), "json.trailing_bytes");
  EXPECT_EQ(Code("1e309"), "json.number_range");
  EXPECT_EQ(Code("-1e99999999999999999999"), "json.number_range");
  EXPECT_EQ(Code("\xEF\xBB\xBF{}"), "json.syntax");
  EXPECT_EQ(Code("{\"a\":"), "json.truncated");
  EXPECT_EQ(Code("tru"), "json.truncated");
  EXPECT_EQ(Code(""), "json.truncated");
  EXPECT_EQ(Code("[1,]"), "json.syntax");
  EXPECT_EQ(Code("[01]"), "json.syntax");
  EXPECT_EQ(Code("\"\t\""), "json.syntax");
  EXPECT_EQ(Code("12345678901", {.max_bytes = 10}), "json.too_large");
}

TEST(JsonParser, NamesThePlaceByPointerAndOffset) {  // L3
  EXPECT_EQ(Message(R"({"a":[1,{"b/c":tru}]})"),
            "JSON is refused: no value at /a/1/b~1c (byte 15)");
  EXPECT_EQ(Message(R"({"x":{"a":1,"b":2,"a":3}})"),
            "JSON is refused: a member name for the second time at /x/a (byte 19)");
  EXPECT_EQ(Message("[1,2,x]"), "JSON is refused: no value at /2 (byte 5)");
}

TEST(JsonParser, NumbersTooSmallBecomeZeroAndKeepTheirSign) {
  EXPECT_EQ(*Parse("1e-400")->if_number(), 0);
  EXPECT_TRUE(std::signbit(*Parse("-0.0000001e-400")->if_number()));
  EXPECT_EQ(*Parse("0e999999999999")->if_number(), 0);
  EXPECT_EQ(*Parse("5e-324")->if_number(), 5e-324);
  EXPECT_EQ(*Parse("0." + std::string(400, '0') + "1e401")->if_number(), 1);
}

TEST(JsonParser, DepthIsBoundedExactlyAndNeverRecursesPastIt) {
  const auto nested = [](std::size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_EQ(Code(nested(64)), "ok");
  EXPECT_EQ(Code(nested(65)), "json.too_deep");
  EXPECT_EQ(Code(nested(3), {.max_depth = 2}), "json.too_deep");
  EXPECT_EQ(Code(nested(1000000)), "json.too_deep");
  EXPECT_EQ(Code(nested(100000), {.max_depth = 1000000}), "json.too_deep")
      << "a caller cannot raise it past what the stack holds";
  std::string objects;
  for (int i = 0; i < 100000; ++i) objects += "{\"a\":";
  EXPECT_EQ(Code(objects), "json.too_deep");
}

TEST(JsonParser, HostileSizesTakeFarLessThanQuadraticTime) {
  // 200,000 members: in pairs that would be 2 * 10^10 comparisons, minutes and not seconds.
  std::string text = "{";
  for (int i = 0; i < 200000; ++i) text += "\"name" + std::to_string(i) + "\":0,";
  const auto before = std::chrono::steady_clock::now();
  EXPECT_EQ(Code(text + "\"name7\":1}"), "json.duplicate_name");
  EXPECT_EQ(Code(text + "\"last\":1}"), "ok");
  EXPECT_EQ(Code("[" + std::string(2000000, '\"') + "]"), "json.syntax");
  EXPECT_EQ(Code(std::string(5000000, ' ') + "1"), "ok");
  EXPECT_EQ(Code(std::string(2000000, '9')), "json.number_range");
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(60));
}

TEST(JsonParser, AgreesWithTheParsingSuite) {
  WRIT_REQUIRE_SHARED_TESTDATA("json-parsing");
  std::size_t accepted = 0, refused = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(writ::test::SharedDir() + "/testdata/json-parsing")) {
    const std::string name = entry.path().filename();
    const Result<Value> value = Parse(ReadText(entry.path()));
    if (name.starts_with("y_")) {
      // One valid text of the suite is refused by design: a name twice is an error here.
      const bool duplicate = name.starts_with("y_object_duplicated_key");
      EXPECT_EQ(value.has_value(), !duplicate)
          << name << ": " << (value ? "" : value.error().message);
      if (duplicate) {
        EXPECT_EQ(value.error().code, "json.duplicate_name");
      }
      ++accepted;
    } else if (name.starts_with("n_")) {
      EXPECT_FALSE(value.has_value()) << name;
      ++refused;
    }  // any other name: either way, without a crash
    if (value) {
      const std::string bytes = CanonicalBytes(*value);
      ASSERT_TRUE(Parse(bytes)) << name;
      EXPECT_EQ(CanonicalBytes(*Parse(bytes)), bytes) << name;
    }
  }
  EXPECT_GE(accepted, 90u);
  EXPECT_GE(refused, 150u);
}

TEST(JsonValue, IllFormedTextIsReplacedWhenAValueIsMade) {
  EXPECT_EQ(Value("a\xFFz").string(), "a\uFFFDz");
  Object object;
  object.Set("\xC3", 1);
  EXPECT_EQ(object.begin()->name, "\uFFFD");
}

TEST(JsonValue, NumbersThatADoubleCannotHoldAbort) {
  EXPECT_DEATH(Value(std::int64_t{1} << 60), "");
  EXPECT_DEATH(Value(1.0 / 0.0 * 0.0), "");
}

TEST(JsonObject, KeepsOrderAndFindsAmongManyMembers) {
  Object object;
  for (int i = 0; i < 1000; ++i) object.Set("m" + std::to_string(i * 7919 % 1000), i);
  EXPECT_EQ(object.size(), 1000u);
  EXPECT_EQ(object.begin()->name, "m0");
  object.Set("m500", "new");
  EXPECT_EQ(object.size(), 1000u);
  EXPECT_EQ(object.Find("m500")->string(), "new");
  EXPECT_TRUE(object.Erase("m500"));
  EXPECT_FALSE(object.Erase("m500"));
  EXPECT_EQ(object.Find("m500"), nullptr);
  EXPECT_NE(object.Find("m501"), nullptr);
  EXPECT_EQ(object.size(), 999u);
}

TEST(JsonWriter, PrettyTextReadsBackAsTheSameValue) {
  const Value value = Parse(R"({"a":[1,{"b":[]},{}],"c":"x\ny","d":null})").value();
  EXPECT_EQ(Parse(WritePretty(value)).value(), value);
  EXPECT_EQ(WritePretty(Object{{"a", Array{1, "x"}}, {"b", Object{}}}),
            "{\n  \"a\": [\n    1,\n    \"x\"\n  ],\n  \"b\": {}\n}");
  EXPECT_EQ(Write(value), R"({"a":[1,{"b":[]},{}],"c":"x\ny","d":null})");
}

}  // namespace
}  // namespace writ::json
