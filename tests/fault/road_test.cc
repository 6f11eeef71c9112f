// Between runner and plane messages are lost, late, doubled, out of order, or others; the plane
// restarts meanwhile. Every run ends in one receipt all the same (L38).
#include <gtest/gtest.h>

#include "fault/support/expect_well.h"
#include "fault/support/unruly_road.h"

namespace writ::test {
namespace {

using std::chrono::milliseconds;

class Road : public ::testing::TestWithParam<RoadDeed> {
 protected:
  void Begin() {
    world_.StartPlane();
    road_.LeadTo(world_.plane_port());
    world_.GoBy(road_.port());
    world_.StartRunner("", 2);
    ASSERT_TRUE(world_.AwaitServing()) << world_.Log();
  }
  // The runs end on the bad road; what is left to say, their receipts, may need the good one.
  void ExpectAllWell(const std::vector<std::string>& runs) {
    EXPECT_TRUE(world_.Await(
        [&] {
          for (const std::string& run : runs)
            if (!world_.Ended(world_.Run(run))) return false;
          return true;
        },
        milliseconds(150'000)))
        << world_.Log();
    EXPECT_GT(road_.done(), 0);
    road_.Behave({}, 0);
    // However bad the road is, this plane is not taken for one without the extension.
    EXPECT_GT(road_.leases(), 0);
    for (const std::string& run : runs) EXPECT_TRUE(world_.HasEnvironment(run)) << run;
    test::ExpectAllWell(world_, runs);
  }
  FaultWorld world_;
  UnrulyRoad road_{7};
};

TEST_P(Road, ThatMisbehavesLeavesOneReceiptForEachRun) {
  Begin();
  road_.Behave({GetParam()}, 40);
  ExpectAllWell({world_.Submit(), world_.Submit(), world_.SubmitTrue()});
}

INSTANTIATE_TEST_SUITE_P(EachDeed, Road, ::testing::ValuesIn(kRoadDeeds),
                         [](const ::testing::TestParamInfo<RoadDeed>& deed) {
                           return std::string(RoadWord(deed.param));
                         });

class MixedRoad : public Road {};

TEST_F(MixedRoad, WithAPlaneAndARunnerThatAreKilledOnTheWayLeavesOneReceiptForEachRun) {
  Begin();
  road_.Behave({kRoadDeeds.begin(), kRoadDeeds.end()}, 30);
  std::vector<std::string> runs;
  for (int round = 0; round < 3; ++round) {
    runs.push_back(world_.Submit());
    runs.push_back(world_.SubmitTrue());
    const int before = road_.done();
    EXPECT_TRUE(world_.Await([&] { return road_.done() >= before + 5; }, milliseconds(60'000)))
        << world_.Log();
    world_.KillPlane();
    world_.StartPlane();
    if (round == 1) {
      world_.KillRunner();
      world_.StartRunner("", 2);
    }
  }
  ExpectAllWell(runs);
}

// The first thing that a runner hears of its plane is an error, and it claims nothing before it has
// heard something else.
TEST_F(MixedRoad, ThatIsBadWhenARunnerStartsIsNoReasonToTakeItsPlaneForAnother) {
  Begin();
  world_.KillRunner();
  const std::string run = world_.Submit();
  const int before = road_.done();
  road_.Behave({RoadDeed::kError500, RoadDeed::kGarbage}, 100);
  world_.StartRunner();
  EXPECT_TRUE(world_.Await([&] { return road_.done() >= before + 6; }, milliseconds(60'000)))
      << world_.Log();
  road_.Behave({}, 0);
  ExpectAllWell({run});
}

// The plane dies between countersigning and its answer, and the road drops what it did answer.
TEST_F(MixedRoad, WithAPlaneThatDiesBeforeItAnswersAReceiptLeavesOne) {
  world_.StartPlane("plane.complete.committed:kill");
  road_.LeadTo(world_.plane_port());
  world_.GoBy(road_.port());
  world_.StartRunner();
  ASSERT_TRUE(world_.AwaitServing()) << world_.Log();
  road_.Behave({RoadDeed::kDropAnswer, RoadDeed::kTwice, RoadDeed::kReorder}, 40);
  const std::string run = world_.Submit();
  ASSERT_TRUE(world_.AwaitDeath(world_.plane(), milliseconds(90'000))) << world_.Log();
  world_.StartPlane();
  ExpectAllWell({run});
}

}  // namespace
}  // namespace writ::test
