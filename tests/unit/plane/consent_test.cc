// Consent, cancellation, and what time ends.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <set>
#include <thread>

#include "test_plane.h"
#include "writ/protocol/bundle.h"
#include "writ/protocol/events.h"

namespace writ::test {
namespace {

using json::Array;
using json::Object;
using plane::Submission;
using std::chrono::milliseconds;

constexpr milliseconds kNoWait{0};

TEST(Consent, ARunWaitsUntilEveryRuleHasItsApprover) {
  TestPlane plane(ConsentPolicy(2));
  TestRunner runner(*plane, plane.local);
  auto made = plane->Submit(plane.local, json::Write(RunBody(*plane)));
  ASSERT_EQ(made->status, plane::RunState::kAwaitingApproval);
  EXPECT_FALSE(plane->Claim(runner.token, "default", kNoWait).value());
  auto by = [&](const char* who) {
    return plane->Approve(plane.local, made->run_id,
                          plane::Actor{protocol::ActorKind::kHuman, who});
  };
  EXPECT_EQ(by("somebody").error().kind, ErrorKind::kDenied);
  EXPECT_EQ(by("lead").value(), plane::RunState::kAwaitingApproval);
  EXPECT_FALSE(plane->Claim(runner.token, "default", kNoWait).value());
  EXPECT_EQ(by("lead").error().kind, ErrorKind::kDenied) << "one person is not two";
  EXPECT_EQ(by("sec").value(), plane::RunState::kCreated);
  EXPECT_EQ(EventTypes(plane, made->run_id),
            (std::vector<std::string>{"run.created", "policy.evaluated", "consent.requested",
                                      "consent.requested", "consent.granted", "consent.granted"}));
  EXPECT_EQ(by("sec").error().kind, ErrorKind::kConflict);
  EXPECT_EQ(Claimed(plane, runner).run_id, made->run_id);
}

TEST(Consent, AnApproverActsInTheirOwnNameOnly) {
  TestPlane plane(ConsentPolicy(1));
  auto made = plane->Submit(plane.local, json::Write(RunBody(*plane)));
  plane::Caller lead{"lead", {plane::Role::kApprover}};
  plane::Caller other{"other", {plane::Role::kApprover}};
  plane::Caller requester{"req", {plane::Role::kRequester}};
  EXPECT_EQ(plane->Approve(requester, made->run_id, std::nullopt).error().code, "forbidden");
  EXPECT_EQ(plane->Approve(other, made->run_id, plane::Actor{protocol::ActorKind::kHuman, "lead"})
                .error()
                .code,
            "forbidden");
  EXPECT_EQ(plane->Approve(lead, made->run_id, std::nullopt).value(), plane::RunState::kCreated);
}

std::vector<json::Value> AdminEntries(TestPlane& plane, std::string_view type) {
  std::vector<json::Value> out;
  EXPECT_TRUE(plane->Export({}, [&](std::string_view line) -> Status {
    json::Value entry = json::Parse(line).value();
    const json::Value* event = entry.Find("event");
    if (event != nullptr && event->FindString("type") == type) out.push_back(std::move(entry));
    return {};
  }));
  return out;
}

TEST(Consent, WhoActedInAnothersNameIsInTheAdminChain) {
  TestPlane plane(ConsentPolicy(1));
  auto made = plane->Submit(plane.local, json::Write(RunBody(*plane)));
  const std::size_t before = AdminEntries(plane, "admin.acted_as").size();
  ASSERT_TRUE(
      plane->Approve(plane.local, made->run_id, plane::Actor{protocol::ActorKind::kHuman, "lead"}));
  const auto entries = AdminEntries(plane, "admin.acted_as");
  ASSERT_EQ(entries.size(), before + 1);
  const std::string text = json::Write(entries.back());
  for (const std::string& word : {std::string("\"owner\""), std::string("\"lead\""),
                                  std::string("\"approve\""), made->run_id})
    EXPECT_NE(text.find(word), std::string::npos) << word << " in " << text;
}

TEST(Consent, TheEndOfARunThatNeverHadAContractIsInTheAdminChain) {
  TestPlane plane(ConsentPolicy(1));
  auto made = plane->Submit(plane.local, json::Write(RunBody(*plane)));
  ASSERT_TRUE(plane->Cancel(plane.local, made->run_id, std::nullopt));
  const auto entries = AdminEntries(plane, "admin.run.cancelled");
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_NE(json::Write(entries[0]).find(made->run_id), std::string::npos);
}

TEST(Consent, APolicyThatDeniesMeanwhileIsNotApprovedAway) {
  TestPlane plane(ConsentPolicy(1));
  auto made = plane->Submit(plane.local, json::Write(RunBody(*plane)));
  Object none{{"runners", Object{{"allowPools", Array{}}}}};
  ASSERT_TRUE(plane->SetPolicy(plane.local, PolicyWith(none)));
  auto approved =
      plane->Approve(plane.local, made->run_id, plane::Actor{protocol::ActorKind::kHuman, "lead"});
  ASSERT_FALSE(approved);
  EXPECT_EQ(approved.error().code, "policy_denied");
}

TEST(Consent, RunsOutWhenNobodyApproves) {
  TestPlane plane(ConsentPolicy(1));
  auto made = plane->Submit(plane.local, json::Write(RunBody(*plane)));
  plane.clock.Advance(std::chrono::hours(24 * 8));
  ASSERT_TRUE(plane->Sweep());
  auto run = plane->Run(made->run_id).value();
  EXPECT_EQ(run.summary.status, plane::RunState::kFailed);
  EXPECT_EQ(run.summary.failure, "nobody approved the run in time");
}

TEST(Cancel, AnUnclaimedRunEndsAtOnceAndIsNotClaimed) {
  TestPlane plane;
  TestRunner runner(*plane, plane.local);
  auto run = Submit(plane);
  auto cancelled =
      plane->Cancel(plane.local, run, plane::Actor{protocol::ActorKind::kHuman, "alice"});
  EXPECT_EQ(cancelled->status, plane::RunState::kCancelled);
  EXPECT_EQ(EventTypes(plane, run).back(), "run.cancelled");
  EXPECT_FALSE(plane->Claim(runner.token, "default", kNoWait).value());
}

TEST(Cancel, AClaimedRunsRunnerIsToldWithItsNextEvents) {
  TestPlane plane;
  TestRunner runner(*plane, plane.local);
  auto run = Submit(plane);
  auto claim = Claimed(plane, runner);
  EXPECT_FALSE(plane->AppendEvents(run, claim.claim_token, Array{})->cancel_requested);
  auto cancelled = plane->Cancel(plane.local, run, std::nullopt);
  EXPECT_TRUE(cancelled->cancel_requested);
  EXPECT_EQ(cancelled->status, plane::RunState::kClaimed);
  EXPECT_TRUE(plane->AppendEvents(run, claim.claim_token, Array{})->cancel_requested);
  EXPECT_TRUE(plane->Run(run)->summary.cancel_requested);
}

TEST(Contracts, NobodyClaimsOneThatHasExpired) {
  TestPlane plane;
  TestRunner runner(*plane, plane.local);
  auto run = Submit(plane);
  plane.clock.Advance(std::chrono::hours(1));
  EXPECT_FALSE(plane->Claim(runner.token, "default", kNoWait).value());
  ASSERT_TRUE(plane->Sweep());
  EXPECT_EQ(plane->Run(run)->summary.failure, "no runner claimed the contract before it expired");
  EXPECT_EQ(EventTypes(plane, run).back(), "run.failed");
}

}  // namespace
}  // namespace writ::test
