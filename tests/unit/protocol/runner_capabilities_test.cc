// What a runner says of itself: the same on both sides, strict and bounded (L3), never widening.
#include "writ/protocol/runner_capabilities.h"

#include <gtest/gtest.h>

#include <string>

namespace writ::protocol {
namespace {

RunnerCapabilities Some() {
  RunnerCapabilities can;
  can.default_isolation = Tier::kSandbox;
  can.words = {{"hermetic", Tier::kContainer}};
  can.tiers = {{.tier = Tier::kProcess,
                .offered = true,
                .reason = "",
                .mend = "",
                .backend = "process",
                .version = "writ 0.1.0",
                .overlay = true,
                .enforcement = {{"files", "kernel"}, {"network", "advisory"}},
                .limits = {{"memory", "rlimit", false}, {"cpu", "supervisor", true}}},
               {.tier = Tier::kContainer,
                .offered = false,
                .reason = "no OCI runtime",
                .mend = "install crun",
                .backend = "container",
                .version = "",
                .overlay = false,
                .enforcement = {},
                .limits = {}}};
  can.agents = {{AgentKind::Parse("codex").value(), "0.169.0"},
                {AgentKind::Parse("command").value(), std::nullopt}};
  can.machine = {2000, 4ull << 30, 100ull << 30};
  can.most.memory_bytes = 1ull << 30;
  can.most.timeout_ms = 60'000;
  return can;
}

// The text with `what` replaced, as the other side reads it.
std::string CodeOf(const std::string& what, const std::string& by) {
  std::string text = json::Write(Some().ToJson());
  const std::size_t at = text.find(what);
  EXPECT_NE(at, std::string::npos) << what;
  text.replace(at, what.size(), by);
  auto value = json::Parse(text);
  if (!value) return value.error().code;
  auto read = RunnerCapabilities::Parse(*value);
  return read ? "" : read.error().code;
}

TEST(RunnerCapabilitiesText, IsReadAsItWasWritten) {
  const json::Value value = Some().ToJson();
  auto read = RunnerCapabilities::Parse(value);
  ASSERT_TRUE(read) << read.error().ToString();
  EXPECT_EQ(json::Write(read->ToJson()), json::Write(value));
  ASSERT_NE(read->Find(Tier::kContainer), nullptr);
  EXPECT_EQ(read->Find(Tier::kContainer)->mend, "install crun");
  EXPECT_EQ(read->Find(Tier::kMicroVm), nullptr);
  EXPECT_FALSE(read->Find(Tier::kProcess)->limits[0].contract);
}

TEST(RunnerCapabilitiesText, OfUnknownWordsAndWrongTypesIsRefused) {  // L3
  EXPECT_EQ(CodeOf("\"tier\":\"container\"", "\"tier\":\"bunker\""), "object.enum");
  EXPECT_EQ(CodeOf("\"files\":\"kernel\"", "\"files\":\"magic\""), "object.enum");
  EXPECT_EQ(CodeOf("\"hermetic\":\"container\"", "\"hermetic\":\"host\""), "object.enum");
  EXPECT_EQ(CodeOf("\"hermetic\"", "\"her metic\\u0000\""), "object.enum");
  EXPECT_EQ(CodeOf("\"tier\":\"container\"", "\"tier\":\"process\""), "capabilities.twice");
  EXPECT_EQ(CodeOf("\"kind\":\"command\"", "\"kind\":\"codex\""), "capabilities.twice");
  EXPECT_EQ(CodeOf("\"kind\":\"command\"", "\"kind\":\"../x\""), "name.agent");
  EXPECT_EQ(CodeOf("\"offered\":true", "\"offered\":\"yes\""), "object.type");
  EXPECT_EQ(CodeOf("\"memoryBytes\":1073741824", "\"memoryBytes\":-1"), "object.range");
  EXPECT_EQ(CodeOf("\"memoryBytes\":1073741824", "\"memoryBytes\":1e300"), "object.type");
  EXPECT_EQ(CodeOf("\"mend\":\"install crun\"", "\"mend\":\"" + std::string(301, 'x') + "\""),
            "object.range");
  EXPECT_EQ(CodeOf("\"offered\":true", "\"offered\":true,\"inventedLater\":{}"), "");
}

TEST(RunnerCapabilitiesText, IsBounded) {  // L3
  for (const auto& [member, item] :
       {std::pair{"\"agents\":[", "{\"kind\":\"k%\"}"},
        std::pair{"\"tiers\":[", "{\"tier\":\"process\",\"offered\":true}"},
        std::pair{"\"limits\":[", "{\"limit\":\"l\",\"holder\":\"h\"}"}}) {
    std::string many;
    for (int i = 0; i < 70; ++i) {
      std::string one = item;
      if (auto at = one.find('%'); at != std::string::npos) one.replace(at, 1, std::to_string(i));
      many += one + ",";
    }
    EXPECT_NE(CodeOf(member, member + many), "") << member;
  }
}

TEST(RunnerCapabilitiesText, HasItsSentencesCutToWhatTheOtherSideTakes) {
  RunnerCapabilities can = Some();
  can.tiers[1].reason = std::string(kMaxCapabilityText - 4, 'x') + "\xc3\xa4\xc3\xa4\xc3\xa4";
  can.tiers[1].mend = "\xff broken";
  auto read = RunnerCapabilities::Parse(can.ToJson());
  ASSERT_TRUE(read) << read.error().ToString();
  EXPECT_LE(read->tiers[1].reason.size(), kMaxCapabilityText);
  EXPECT_TRUE(read->tiers[1].reason.ends_with("..."));
}

TEST(RunnerCapabilitiesTier, IsRaisedToTheMinimumAndNeverLowered) {
  RunnerCapabilities can = Some();
  EXPECT_EQ(can.TierFor(std::nullopt), Tier::kSandbox);
  EXPECT_EQ(can.TierFor("process"), Tier::kProcess);
  EXPECT_EQ(can.TierFor("hermetic"), Tier::kContainer);
  EXPECT_EQ(can.TierFor("unknown"), std::nullopt);
  for (const auto& minimum : kTierTable)
    for (const auto& asked : kTierTable) {
      can.minimum_isolation = minimum.value;
      const auto tier = can.TierFor(std::string(asked.name));
      ASSERT_TRUE(tier);
      EXPECT_GE(*tier, asked.value) << asked.name << " below " << minimum.name;
      EXPECT_GE(*tier, minimum.value);
      EXPECT_TRUE(*tier == asked.value || *tier == minimum.value);
    }
}

}  // namespace
}  // namespace writ::protocol
