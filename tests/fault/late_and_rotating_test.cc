// A runner is killed where it hands in late what it had finished, and where it changes its key: the
// next start does it again, and the plane has it once.
#include <gtest/gtest.h>

#include "fault/support/elsewhere.h"
#include "fault/support/expect_well.h"

namespace writ::test {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLost{90'000};
constexpr milliseconds kDeath{60'000};

class LateCall : public ::testing::TestWithParam<std::tuple<std::string_view, Death>> {
 protected:
  FaultWorld world_;
};

TEST_P(LateCall, IsRepeatedByTheNextStart) {
  const auto [point, death] = GetParam();
  world_.ConfigurePlane("lease", json::Object{{"seconds", 10}, {"graceSeconds", 0}});
  world_.StartPlane();
  // The job is done and nobody was told; the plane waits in vain and closes the run.
  world_.StartRunner("session.store.after:kill", 1, death);
  const std::string run = world_.Submit();
  ASSERT_TRUE(world_.AwaitDeath(world_.runner(), kDeath)) << world_.Log();
  ASSERT_TRUE(world_.Await([&] { return world_.Ended(world_.Run(run)); }, kLost)) << world_.Log();
  world_.StartRunner(std::string(point) + ":kill", 1, death);
  ASSERT_TRUE(world_.AwaitDeath(world_.runner(), kDeath))
      << "the point was not reached" << world_.Log();
  world_.StartRunner();
  EXPECT_TRUE(world_.Await([&] { return world_.LateProblems(run).empty(); }, kDeath))
      << world_.LateProblems(run).front() << world_.Log();
  // Its bundle is parked, and shown, for good: the plane's receipt is another one.
  EXPECT_EQ(world_.WaitingReceipts().size(), 1u);
  EXPECT_EQ(world_.DrainRunner(), 0) << world_.Log();
  EXPECT_EQ(world_.ReceiptProblems(run), std::vector<std::string>()) << world_.Log();
  EXPECT_EQ(world_.StopPlane(), 0) << world_.Log();
  EXPECT_EQ(world_.LeftoverProblems(), std::vector<std::string>()) << world_.Log();
  EXPECT_EQ(world_.SecretProblems(), std::vector<std::string>());
}

std::string NameOf(const ::testing::TestParamInfo<LateCall::ParamType>& info) {
  std::string name(std::get<0>(info.param));
  for (char& c : name)
    if (c == '.') c = '_';
  return name + (std::get<1>(info.param) == Death::kKilled ? "" : "_and_the_power");
}

INSTANTIATE_TEST_SUITE_P(Runner, LateCall,
                         ::testing::Combine(::testing::ValuesIn(kLateCall),
                                            ::testing::Values(Death::kKilled, Death::kPowerCut)),
                         NameOf);

class RotateCall : public LateCall {};

TEST_P(RotateCall, IsFinishedByTheNextStartUnderOneNewKey) {
  const auto [point, death] = GetParam();
  world_.StartPlane();
  world_.StartRunner(std::string(point) + ":kill", 1, death);
  ASSERT_TRUE(world_.AwaitServing()) << world_.Log();
  const std::string before = world_.AskRotation();
  ASSERT_TRUE(world_.AwaitDeath(world_.runner(), kDeath))
      << "the point was not reached" << world_.Log();
  world_.StartRunner();
  const std::string run = world_.Submit();
  EXPECT_TRUE(world_.Await([&] { return world_.RunnerKeyId() != before; }, kDeath)) << world_.Log();
  ExpectAllWell(world_, {run});
}

INSTANTIATE_TEST_SUITE_P(Runner, RotateCall,
                         ::testing::Combine(::testing::ValuesIn(kRotateCall),
                                            ::testing::Values(Death::kKilled, Death::kPowerCut)),
                         NameOf);

}  // namespace
}  // namespace writ::test
