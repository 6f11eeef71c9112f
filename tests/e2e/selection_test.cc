// In which tier a run is run: what its contract asks for, raised to the operator's minimum, or a
// signed refusal with the reason and the mend.
#include "e2e/support/leased_world.h"
#include "writ/protocol/runner_capabilities.h"

namespace writ {
namespace {

using test::FakeBackend;
using test::FakeJobView;
using test::FakePlane;

class SelectionTest : public test::LeasedWorld {
 protected:
  protocol::Contract Asking(const char* isolation) {
    protocol::Contract draft = Draft("run_x");
    draft.isolation = isolation;
    return draft;
  }
  const json::Value Environment() {
    const FakePlane::Run run = plane_.Get("run_x");
    const json::Value* runner = run.receipt.Find("runner");
    const json::Value* environment = runner != nullptr ? runner->Find("environment") : nullptr;
    return environment != nullptr ? *environment : json::Value();
  }
};

TEST_F(SelectionTest, ARunIsRaisedToTheOperatorsMinimumAndItsReceiptSaysSo) {  // L4, L47
  FakeBackend& weak = world_.AddFake([](FakeJobView&) { return test::Exited(0); });
  world_.config.minimum_isolation = "sandbox";
  plane_.Add(Asking("process"));
  ASSERT_TRUE(world_.RunOne());
  ExpectOneGoodReceipt("run_x", "failed");
  EXPECT_EQ(weak.prepared, 0) << "not run in what it asked for where there is nothing higher";
  EXPECT_EQ(LastEvent("run_x", "failure"), "capability_mismatch");
}

TEST_F(SelectionTest, ARaisedRunIsRunInTheHigherTier) {
  FakeBackend& strong =
      world_.AddFake([](FakeJobView&) { return test::Exited(0); }, backends::Tier::kSandbox);
  world_.config.minimum_isolation = "sandbox";
  plane_.Add(Asking("process"));
  ASSERT_TRUE(world_.RunOne());
  ExpectOneGoodReceipt("run_x", "completed");
  EXPECT_EQ(strong.prepared, 1);
  EXPECT_TRUE(HasFinding("run_x", "isolation.raised"));
  EXPECT_EQ(Environment().FindString("tier"), "sandbox");
  EXPECT_EQ(Environment().FindString("askedTier"), "process");
}

// Of two that could, the one that was resolved runs the job and stands in the receipt, whatever
// another resolution would say by then (L7).
TEST_F(SelectionTest, ABackendIsResolvedOnceAndThatOneRunsAndIsRecorded) {
  FakeBackend* first = nullptr;
  first = &world_.AddFake(
      [&first](FakeJobView&) {
        first->usable = false;
        return test::Exited(0);
      },
      backends::Tier::kSandbox, "first");
  FakeBackend& second = world_.AddFake([](FakeJobView&) { return test::Exited(0); },
                                       backends::Tier::kSandbox, "second");
  plane_.Add(Asking("sandbox"));
  ASSERT_TRUE(world_.RunOne());
  ExpectOneGoodReceipt("run_x", "completed");
  EXPECT_EQ(first->prepared, 1);
  EXPECT_EQ(first->dismantled, 1);
  EXPECT_EQ(second.prepared, 0);
  EXPECT_EQ(Environment().FindString("backend"), "first");
}

TEST_F(SelectionTest, TheBackendThatStandsInTheReceiptIsNotTheFirstOfItsTierButTheOneThatRan) {
  FakeBackend& first = world_.AddFake([](FakeJobView&) { return test::Exited(0); },
                                      backends::Tier::kSandbox, "first");
  first.usable = false;
  FakeBackend& second = world_.AddFake(
      [&first](FakeJobView&) {
        first.usable = true;
        return test::Exited(0);
      },
      backends::Tier::kSandbox, "second");
  plane_.Add(Asking("sandbox"));
  ASSERT_TRUE(world_.RunOne());
  ExpectOneGoodReceipt("run_x", "completed");
  EXPECT_EQ(first.prepared, 0);
  EXPECT_EQ(second.prepared, 1);
  EXPECT_EQ(Environment().FindString("backend"), "second");
}

TEST_F(SelectionTest, WhatIsUnmetIsASignedRefusalWithTheReasonAndTheMend) {  // L4
  world_.AddFake([](FakeJobView&) { return test::Exited(0); });  // or the runner asks for nothing
  FakeBackend& broken =
      world_.AddFake([](FakeJobView&) { return test::Exited(0); }, backends::Tier::kContainer);
  broken.usable = false;
  plane_.Add(Asking("container"));
  ASSERT_TRUE(world_.RunOne());
  ExpectOneGoodReceipt("run_x", "failed");
  EXPECT_EQ(LastEvent("run_x", "failure"), "capability_mismatch");
  EXPECT_NE(LastEvent("run_x", "message").find("the test says so"), std::string::npos);
  EXPECT_EQ(Environment().FindString("failureMend"), "change the test");
  EXPECT_EQ(broken.prepared, 0);
}

TEST_F(SelectionTest, ARunnerTellsAPlaneWithTheExtensionWhatItCan) {
  world_.AddFake([](FakeJobView&) { return test::Exited(0); });
  world_.config.minimum_isolation = "process";
  plane_.Add(Asking("process"));
  ASSERT_TRUE(world_.RunOne());
  auto can = protocol::RunnerCapabilities::Parse(plane_.capabilities());
  ASSERT_TRUE(can) << can.error().ToString();
  ASSERT_NE(can->Find(protocol::Tier::kProcess), nullptr);
  EXPECT_TRUE(can->Find(protocol::Tier::kProcess)->offered);
  EXPECT_EQ(can->Find(protocol::Tier::kContainer), nullptr);
  EXPECT_GT(can->machine.memory_bytes, 0u);
  EXPECT_EQ(can->most.processes, world_.config.limits.processes);
}

TEST_F(SelectionTest, ARunnerOfOneRunSaysNothingAndRefusesByItself) {
  world_.AddFake([](FakeJobView&) { return test::Exited(0); });
  world_.config.only_run = "run_x";
  plane_.Add(Asking("container"));
  ASSERT_TRUE(world_.RunOne());
  EXPECT_TRUE(plane_.capabilities().is_null());
  ExpectOneGoodReceipt("run_x", "failed");
}

}  // namespace
}  // namespace writ
