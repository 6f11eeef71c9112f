// Bundle verification: the further checks, pinning, warnings, and what a receipt does not prove.
#include <gmock/gmock.h>

#include <algorithm>
#include <tuple>

#include "support.h"

namespace writ::protocol {
namespace {

using test::Key;
using test::MakeRun;
using ::testing::HasSubstr;
using ::testing::Not;

VerifyReport Verify(const json::Value& bundle, const VerifyOptions& options = {}) {
  return VerifyBundle(json::Write(bundle), options);
}

bool Has(const std::vector<Finding>& findings, std::string_view code) {
  return std::any_of(findings.begin(), findings.end(),
                     [&](const Finding& f) { return f.code == code; });
}

TEST(Bundle, OurOwnVerifiesAndItsFactsAnswerTheQuestions) {
  const test::MadeRun run = MakeRun({});
  const VerifyReport report = VerifyBundle(run.text);
  EXPECT_TRUE(report.ok) << RenderText(report, "own");
  EXPECT_FALSE(report.pinned);
  EXPECT_EQ(*report.facts.Find("runId"), json::Value("run_a"));
  EXPECT_EQ(*report.facts.Find("eventCount"), json::Value(run.events.size()));
  EXPECT_EQ(report.facts.Find("networkAccessed")->array().size(), 2u);
}

TEST(Bundle, SummariesThatDisagreeWithTheEventsAreProblemsEvenUnderValidSignatures) {
  const std::vector<std::pair<std::string, std::string>> lists = {
      {"networkAccessed", "receipt.network_accessed"},
      {"modelsUsed", "receipt.models_used"},
      {"boundaryDisclosures", "receipt.boundary_disclosures"},
      {"secretsReleased", "receipt.secrets_released"}};
  for (const auto& [member, code] : lists) {
    json::Value bundle = MakeRun({}).bundle;
    bundle.object().Find("receipt")->object().Set(member, json::Array());
    test::SignAgain(bundle, {});
    const VerifyReport report = Verify(bundle);
    EXPECT_EQ(report.problems.size(), 1u) << RenderText(report, member);
    EXPECT_TRUE(report.HasProblem(code)) << member;
  }
  json::Value bundle = MakeRun({}).bundle;
  bundle.object()
      .Find("receipt")
      ->object()
      .Find("workspaceOut")
      ->object()
      .Find("artifactHashes")
      ->array()
      .pop_back();
  test::SignAgain(bundle, {});
  EXPECT_TRUE(Verify(bundle).HasProblem("receipt.artifact_hashes"));
}

TEST(Bundle, AContractThatHadExpiredAtItsClaimIsAProblem) {
  json::Value bundle = MakeRun({}).bundle;
  for (json::Value& event : bundle.object().Find("events")->array())
    event.object().Set("ts", "2026-06-22T09:00:00.000Z");
  json::Object& receipt = bundle.object().Find("receipt")->object();
  receipt.Set("startedAt", "2026-06-22T09:00:00.000Z").Set("endedAt", "2026-06-22T09:00:00.000Z");
  receipt.Find("secretsReleased")->array()[0].object().Set("ts", "2026-06-22T09:00:00.000Z");
  test::Rechain(bundle, {});
  const VerifyReport report = Verify(bundle);
  EXPECT_TRUE(report.HasProblem("contract.expired_at_claim")) << RenderText(report, "expired");
  EXPECT_EQ(report.problems.size(), 1u);
  EXPECT_TRUE(report.problems[0].further);
}

TEST(Bundle, TimeThatRunsBackwardsIsAWarningOnly) {
  json::Value bundle = MakeRun({}).bundle;
  bundle.object().Find("events")->array()[5].object().Set("ts", "2026-06-22T05:05:00.000Z");
  test::Rechain(bundle, {});
  const VerifyReport report = Verify(bundle);
  EXPECT_TRUE(report.ok) << RenderText(report, "backwards");
  EXPECT_TRUE(Has(report.warnings, "chain.time_backwards"));
}

TEST(Bundle, AClaimByAnotherRunnerOrAnotherWorkspaceIsAProblem) {
  for (const auto& [index, member, value, code] :
       std::vector<std::tuple<std::size_t, std::string, std::string, std::string>>{
           {1, "runnerId", "rnr_other", "claim.runner_id"},
           {1, "runnerKeyId", "ed25519:0000000000000000", "claim.runner_key"},
           {3, "manifestHash", std::string(64, '0'), "event.manifest_hash"}}) {
    json::Value bundle = MakeRun({}).bundle;
    bundle.object().Find("events")->array()[index].object().Find("event")->object().Set(member,
                                                                                        value);
    test::Rechain(bundle, {});
    const VerifyReport report = Verify(bundle);
    EXPECT_TRUE(report.HasProblem(code)) << code;
    EXPECT_EQ(report.problems.size(), 1u) << RenderText(report, code);
  }
}

TEST(Bundle, EventsAfterTheEndAreAProblem) {
  json::Value bundle = MakeRun({}).bundle;
  json::Array& events = bundle.object().Find("events")->array();
  events.push_back(events.back());
  test::Rechain(bundle, {});
  EXPECT_TRUE(Verify(bundle).HasProblem("chain.after_end"));
}

TEST(Bundle, AnEventsSeventhMemberIsRefusedBecauseNothingSignsIt) {
  json::Value bundle = MakeRun({}).bundle;
  bundle.object().Find("events")->array()[4].object().Set("note", "looks signed");
  EXPECT_TRUE(Verify(bundle).HasProblem("event.malformed"));
}

TEST(Bundle, PinnedKeysMustBeTheBundlesKeys) {
  const test::MadeRun run = MakeRun({});
  VerifyOptions options{.plane_key = Key("plane").Public(),
                        .runner_key = Key("runner").Public(),
                        .org_key = std::nullopt,
                        .require_pinned = true};
  VerifyReport report = VerifyBundle(run.text, options);
  EXPECT_TRUE(report.ok) << RenderText(report, "pinned");
  EXPECT_TRUE(report.pinned);
  EXPECT_FALSE(Has(report.notes, "note.unpinned"));
  options.plane_key = Key("stranger").Public();
  EXPECT_TRUE(VerifyBundle(run.text, options).HasProblem("pin.plane_key"));
  options.plane_key = Key("plane").Public();
  options.runner_key = Key("stranger").Public();
  EXPECT_TRUE(VerifyBundle(run.text, options).HasProblem("pin.runner_key"));
  EXPECT_TRUE(VerifyBundle(run.text, {.require_pinned = true}).HasProblem("pin.required"));
  EXPECT_TRUE(VerifyBundle(run.text, {.org_key = Key("org").Public()})
                  .HasProblem("contract.org_signature"));
}

TEST(Bundle, AnOrganisationsSignatureIsCheckedWhereItIsThere) {
  test::MadeRun run = MakeRun({});
  json::Value bundle = run.bundle;
  json::Array& signatures = bundle.object().Find("contract")->object().Find("signatures")->array();
  signatures.push_back(SignDigest(Key("org"), Signer::kOrg, run.contract.Hash()).ToJson());
  EXPECT_TRUE(Verify(bundle, {.org_key = Key("org").Public()}).ok);
  EXPECT_TRUE(Has(Verify(bundle).warnings, "contract.org_signature_unchecked"));
  EXPECT_TRUE(
      Verify(bundle, {.org_key = Key("stranger").Public()}).HasProblem("contract.org_signature"));
  bundle.object().Find("keys")->object().Set("orgPublicKeyPem", Key("org").Public().ToPem());
  EXPECT_TRUE(Verify(bundle).ok);
}

TEST(Bundle, WhatAReceiptDoesNotProveIsSaid) {  // L47
  test::RunShape shape;
  shape.with_environment = false;
  const VerifyReport bare = VerifyBundle(MakeRun(shape).text);
  for (const char* code : {"note.unpinned", "note.software_key", "note.no_environment",
                           "note.clock", "note.no_network_counters", "note.artifacts_apart"}) {
    EXPECT_TRUE(Has(bare.notes, code)) << code;
  }
  json::Value bundle = MakeRun({}).bundle;
  bundle.object()
      .Find("receipt")
      ->object()
      .Find("runner")
      ->object()
      .Find("environment")
      ->object()
      .Set("network", "advisory");
  test::SignAgain(bundle, {});
  const VerifyReport report = Verify(bundle);
  EXPECT_TRUE(report.ok);
  EXPECT_FALSE(Has(report.notes, "note.no_environment"));
  EXPECT_TRUE(Has(report.notes, "note.environment"));
}

TEST(Bundle, WhatIsNoBundleIsRefusedWithOneClearProblem) {
  for (const auto& [text, code] : std::vector<std::pair<std::string, std::string>>{
           {"", "json.truncated"},
           {"[]", "bundle.malformed"},
           {"null", "bundle.malformed"},
           {"{\"a\":1,\"a\":2}", "json.duplicate_name"}}) {
    const VerifyReport report = VerifyBundle(text);
    EXPECT_FALSE(report.ok);
    ASSERT_EQ(report.problems.size(), 1u);
    EXPECT_EQ(report.problems[0].code, code);
  }
  const VerifyReport empty = VerifyBundle("{}");
  EXPECT_FALSE(empty.ok);
  EXPECT_TRUE(empty.facts.empty()) << "it claims nothing";
  EXPECT_EQ(VerifyBundle("[1]", {.max_bytes = 2}).problems.at(0).code, "json.too_large");
}

TEST(BundleReport, AHostileBundleCannotDriveTheTerminal) {
  json::Value bundle = MakeRun({}).bundle;
  bundle.object()
      .Find("contract")
      ->object()
      .Find("requestedBy")
      ->object()
      .Set("id", "\x1b[2J\x1b]0;owned\x07\n  VERIFIED\u202e\u009b31m");
  const std::string text = RenderText(Verify(bundle), "na\x1bme");
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
  EXPECT_THAT(text, Not(HasSubstr("\u202e")));
  EXPECT_THAT(text, Not(HasSubstr("\u009b")));
  EXPECT_THAT(text, Not(HasSubstr("\n  VERIFIED")));
  EXPECT_THAT(text, HasSubstr("NOT VERIFIED"));
}

TEST(BundleReport, JsonSaysOkAndPinnedFirst) {
  const json::Value out = RenderJson(VerifyBundle(MakeRun({}).text));
  EXPECT_EQ(*out.Find("ok"), json::Value(true));
  EXPECT_EQ(*out.Find("pinned"), json::Value(false));
  EXPECT_TRUE(out.Find("problems")->array().empty());
}

}  // namespace
}  // namespace writ::protocol
