#include "receipt_view.h"

#include <gtest/gtest.h>

#include "writ/protocol/events.h"

namespace writ::cli {
namespace {

using json::Array;
using json::Object;
using json::Value;

const std::string kBundle(64, 'b'), kDiff(64, 'd'), kOther(64, 'e');

Object Crossed(const std::string& direction, const std::string& hash,
               const std::string& data_class = "workspace") {
  return {{"direction", direction}, {"contentHash", hash}, {"dataClass", data_class}};
}

struct Shape {
  Array disclosures = {};
  Array events = Array{Object{{"event", Object{{"type", "workspace.materialized"}}}}};
  std::string run_id = "run_1", runner_id = "rnr_1";
  Object runner_more{{"environment", Object{{"tier", "process"}}}};
  Array signatures = {};
};

Value Bundle(const Shape& shape) {
  Object runner{{"runnerId", shape.runner_id}, {"pool", "default"}};
  for (const json::Member& member : shape.runner_more) runner.Set(member.name, member.value);
  return Object{
      {"contract", Object{{"workspace", Object{{"bundleHash", kBundle}, {"dirtyDiffHash", kDiff}}},
                          {"signatures", shape.signatures}}},
      {"receipt", Object{{"runId", shape.run_id},
                         {"runner", std::move(runner)},
                         {"boundaryDisclosures", shape.disclosures}}},
      {"events", shape.events}};
}

std::string Screen(const Shape& shape, const ReceiptCommands& commands = {}) {
  return RenderReceipt(Bundle(shape), protocol::VerifyReport(), commands);
}

bool Has(const std::string& text, const std::string& what) {
  return text.find(what) != std::string::npos;
}

TEST(ReceiptScreen, SaysWhatCameOutOfTheRunnersCache) {
  const std::string cached = Screen({.disclosures = {Crossed("in", kDiff)}});
  EXPECT_TRUE(Has(cached, "history from the runner's cache (bbbbbbbbbbbbbbbb)")) << cached;
  EXPECT_TRUE(Has(cached, "uncommitted changes dddddddddddddddd")) << cached;
  const std::string fetched =
      Screen({.disclosures = {Crossed("in", kBundle), Crossed("in", kDiff)}});
  EXPECT_TRUE(Has(fetched, "history bbbbbbbbbbbbbbbb")) << fetched;
  EXPECT_FALSE(Has(fetched, "cache")) << fetched;
}

// A kernel that refuses a call tells the job and nobody else.
TEST(ReceiptScreen, NamesTheLimitsThatOnlyAFailedJobMayHaveSeen) {  // L43
  const auto with = [](const char* code) {
    const Array limits{
        Object{{"limit", "memory"},
               {"value", 4096},
               {"unit", "bytes"},
               {"heldBy", "rlimit"},
               {"note", "per process (RLIMIT_DATA)"}},
        Object{{"limit", "processes"}, {"value", 9}, {"unit", "tasks"}, {"heldBy", "rlimit"}},
        Object{{"limit", "disk"}, {"value", 7}, {"unit", "bytes"}, {"heldBy", "supervisor"}}};
    return Screen(
        {.runner_more = {
             {"environment",
              Object{{"failureCode", code},
                     {"enforcement",
                      Object{{"resources", Object{{"level", "rlimit"}, {"limits", limits}}}}}}}}});
  };
  const std::string failed = with("job.exit");
  EXPECT_TRUE(Has(failed, "memory 4096 bytes: per process (RLIMIT_DATA)")) << failed;
  EXPECT_FALSE(Has(failed, "processes 9")) << failed;
  EXPECT_FALSE(Has(failed, "disk 7")) << failed;
  EXPECT_FALSE(Has(with("limit.cpu"), "RLIMIT_DATA"));
}

TEST(ReceiptScreen, ClaimsNoCacheWhereTheRunnerRecordsNoArrivalsOrNothingCame) {
  EXPECT_TRUE(Has(Screen({.runner_more = {}}), "how it came is not recorded"));
  const std::string refused = Screen({.events = {}});
  EXPECT_FALSE(Has(refused, "cache")) << refused;
  EXPECT_FALSE(Has(refused, "history")) << refused;
}

TEST(ReceiptScreen, ShowsEveryArrivalThatTheContractDidNotName) {
  EXPECT_TRUE(Has(Screen({.disclosures = {Crossed("in", kOther)}}), "workspace eeeeeeeeeeeeeeee"));
}

TEST(ReceiptScreen, LeadsToAPinnedVerificationWithoutTheBundlesOwnKeys) {
  const ReceiptCommands commands{.writ = "writ --dir /srv/w",
                                 .access = "",
                                 .plane_key = "/srv/w/keys/plane.pub.pem",
                                 .org_key = "/srv/w/keys/org.pub.pem"};
  const std::string screen = Screen({}, commands);
  EXPECT_TRUE(Has(screen, "writ --dir /srv/w bundle run_1 --out run_1.json\n"));
  EXPECT_TRUE(Has(screen, "writ --dir /srv/w runners key rnr_1 --out rnr_1.pub.pem\n"));
  EXPECT_TRUE(Has(screen,
                  "writ-verify run_1.json --plane-key /srv/w/keys/plane.pub.pem "
                  "--runner-key rnr_1.pub.pem --require-pinned\n"))
      << screen;
  // The organisation's key is pinned where it signed: a contract that it did not sign would fail.
  EXPECT_TRUE(Has(Screen({.signatures = {Object{{"signer", "org"}}}}, commands),
                  "--org-key /srv/w/keys/org.pub.pem --require-pinned"));
}

Value OfType(Object event) {
  return Object{{"event", std::move(event)}};
}

TEST(ReceiptScreen, ShowsFindingsInWordsAndWhatHooksSaid) {
  Array events{
      OfType({{"type", "finding"}, {"code", "a.b"}, {"message", "what it is"}, {"path", "x"}}),
      OfType({{"type", "hook.result"}, {"hook", "before-run"}, {"exitCode", 0}}),
      OfType({{"type", "hook.result"}, {"hook", "after-run"}})};
  std::string screen = Screen({.events = events});
  EXPECT_TRUE(Has(screen, "a.b x: what it is")) << screen;
  EXPECT_TRUE(Has(screen, "before-run exit 0, after-run did not end by itself")) << screen;
  for (int i = 0; i < 30; ++i)
    events.push_back(OfType({{"type", "finding"}, {"code", "c.d"}, {"message", "again"}}));
  screen = Screen({.events = events});
  EXPECT_TRUE(Has(screen, "and 11 more, in the bundle")) << screen;
}

TEST(ReceiptScreen, SaysWhyAnInterruptedRunTellsNoEnforcement) {
  const Object interrupted{{"environment", Object{{"interrupted", Object{{"step", "watch"}}}}}};
  EXPECT_TRUE(Has(Screen({.runner_more = interrupted}), "ended during the step \"watch\""));
  EXPECT_TRUE(Has(Screen({}), "does not say what was enforced"));
}

TEST(ReceiptScreen, HasTheCodeAndTheMendOfAFailure) {
  const Array failed{OfType(
      {{"type", "run.failed"}, {"failure", "capability_mismatch"}, {"message", "it has HOME"}})};
  const Object told{{"environment", Object{{"failureCode", "env.reserved"},
                                           {"failureMend", "take HOME out\nverified: yes"}}}};
  const Shape shape{.events = failed, .runner_more = told};
  EXPECT_TRUE(Has(Screen(shape),
                  "failure: capability_mismatch: it has HOME [env.reserved]\n"
                  "hint: take HOME out\\x0averified: yes\n"))
      << Screen(shape);
  const Value answers = ReceiptAnswers(Bundle(shape), protocol::VerifyReport());
  EXPECT_EQ(answers.Find("failure")->FindString("code"), "env.reserved");
  EXPECT_EQ(answers.Find("failure")->FindString("class"), "capability_mismatch");
  // Of a runner that records none.
  EXPECT_TRUE(Has(Screen({.events = failed}), "failure: capability_mismatch: it has HOME\n"));
}

TEST(ReceiptScreen, SaysWhereTheRequestersOwnChangesCountAsChanged) {
  const std::string note = "what was uncommitted before the run is among them";
  EXPECT_TRUE(Has(Screen({.events = {OfType({{"type", "file.changed"}, {"path", "a"}})}}), note));
  EXPECT_FALSE(Has(Screen({}), note));  // nothing changed
  Value clean = Bundle({.events = {OfType({{"type", "file.changed"}, {"path", "a"}})}});
  clean.if_object()->Set("contract", Object{{"workspace", Object{{"bundleHash", kBundle}}}});
  EXPECT_FALSE(Has(RenderReceipt(clean, protocol::VerifyReport(), {}), note));
}

TEST(ReceiptScreen, OffersAPullOnlyWhereTheRunsOwnChangeLeftItsRunner) {
  const auto offered = [](Array disclosures, Object runner_more) {
    return Has(Screen({.disclosures = std::move(disclosures),
                       .events = {Object{{"event", Object{{"type", "file.changed"}}}}},
                       .runner_more = std::move(runner_more)}),
               "writ pull run_1");
  };
  const Object ours{{"environment", Object{{"tier", "process"}}}};
  EXPECT_FALSE(offered({}, ours));
  // The requester's own uncommitted change, as it went in.
  EXPECT_FALSE(offered({Crossed("out", kDiff, "code-diff")}, ours));
  EXPECT_TRUE(offered({Crossed("out", kOther, "code-delta")}, ours));
  EXPECT_FALSE(offered({Crossed("in", kOther, "code-delta")}, ours));
  // A runner of another make tells nothing else.
  EXPECT_TRUE(offered({Crossed("out", kDiff, "code-diff")}, {}));
}

TEST(ReceiptScreen, IdsOfAHostileBundleAreOneShellWord) {
  const std::string screen = Screen({.run_id = "x; id", .runner_id = "$(id)\n"});
  EXPECT_TRUE(Has(screen, "bundle 'x; id' --out 'x; id'.json")) << screen;
  EXPECT_TRUE(Has(screen, "runners key '$(id)\\x0a'")) << screen;
}

}  // namespace
}  // namespace writ::cli
