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
