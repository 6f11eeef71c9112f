// A plane or a runner is killed at each fault point there is, and started again: exactly one
// receipt, nothing left, nothing lost, nothing leaked (L38). The points are those of the build's
// own list, so one that is added without being reached here fails.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "fault/support/elsewhere.h"
#include "fault/support/expect_well.h"
#include "writ/base/fault.h"

namespace writ::test {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kDeath{45'000};
constexpr milliseconds kStalled{150'000};  // more than a call's whole deadline

bool OnPlane(const std::string& point) {
  return point.starts_with("plane.");
}
bool InRecovery(const std::string& point) {
  return point.starts_with("recovery.");
}
// Reached only where the plane goes away under a run.
bool NeedsLostPlane(const std::string& point) {
  return point.starts_with("journal.waiting.");
}
std::vector<std::string_view> PointsOfARun() {
  const std::vector<std::string_view> elsewhere = PointsReachedElsewhere();
  std::vector<std::string_view> out;
  for (std::string_view point : fault::kPoints)
    if (std::find(elsewhere.begin(), elsewhere.end(), point) == elsewhere.end())
      out.push_back(point);
  return out;
}

class KillAt : public ::testing::TestWithParam<std::string_view> {
 protected:
  void DieAndGoOn(const std::string& point, Death death);
  void ExpectAllWell(const std::string& run_id) { test::ExpectAllWell(world_, {run_id}); }
  std::string Submit(const std::string& point) {
    return point == "plane.piece.written" ? world_.SubmitLarge() : world_.Submit();
  }
  // The plane holds a renewal until there is something to say.
  void CancelOnceRunning(const std::string& run_id) {
    ASSERT_TRUE(
        world_.Await([&] { return world_.Run(run_id).FindString("status") == "running"; }, kDeath))
        << world_.Log();
    world_.Cancel(run_id);
  }
  FaultWorld world_;
};

void KillAt::DieAndGoOn(const std::string& point, Death death) {
  const std::string fault = point + ":kill";
  std::string run_id;
  if (OnPlane(point)) {
    world_.StartPlane(fault, death);
    world_.StartRunner();
    run_id = Submit(point);
    ASSERT_TRUE(world_.AwaitDeath(world_.plane(), kDeath))
        << "the point was not reached" << world_.Log();
    world_.StartPlane();
  } else if (InRecovery(point)) {
    world_.StartPlane();
    world_.StartRunner("session.watch.before:kill", 1, death);
    run_id = Submit(point);
    ASSERT_TRUE(world_.AwaitDeath(world_.runner(), kDeath)) << world_.Log();
    world_.StartRunner(fault, 1, death);
    ASSERT_TRUE(world_.AwaitDeath(world_.runner(), kDeath))
        << "the point was not reached" << world_.Log();
    world_.StartRunner();
  } else if (NeedsLostPlane(point)) {
    world_.StartPlane();
    // As a runner that died with a receipt in hand: what it finds at its start waits.
    world_.StartRunner("call.complete.before:kill", 1, death);
    run_id = Submit(point);
    ASSERT_TRUE(world_.AwaitDeath(world_.runner(), kDeath)) << world_.Log();
    world_.KillPlane();
    world_.StartRunner(fault, 1, death);
    ASSERT_TRUE(world_.AwaitDeath(world_.runner(), kDeath))
        << "the point was not reached" << world_.Log();
    world_.StartPlane();
    world_.StartRunner();
  } else {
    world_.StartPlane();
    world_.StartRunner(fault, 1, death);
    run_id = Submit(point);
    if (point == "call.renew.after") CancelOnceRunning(run_id);
    ASSERT_TRUE(world_.AwaitDeath(world_.runner(), kDeath))
        << "the point was not reached" << world_.Log();
    world_.StartRunner();
  }
  ExpectAllWell(run_id);
}

TEST_P(KillAt, EndsInOneReceiptAndLeavesNothing) {
  DieAndGoOn(std::string(GetParam()), Death::kKilled);
}

// The same, with all that was not flushed gone: what was answered was on the disk (L38).
class PowerCutAt : public KillAt {};

TEST_P(PowerCutAt, EndsInOneReceiptAndLeavesNothing) {
  DieAndGoOn(std::string(GetParam()), Death::kPowerCut);
}

std::string NameOf(const ::testing::TestParamInfo<std::string_view>& info) {
  std::string name(info.param);
  for (char& c : name)
    if (c == '.' || c == '-') c = '_';
  return name;
}

INSTANTIATE_TEST_SUITE_P(EveryPoint, KillAt, ::testing::ValuesIn(PointsOfARun()), NameOf);
INSTANTIATE_TEST_SUITE_P(EveryPoint, PowerCutAt, ::testing::ValuesIn(PointsOfARun()), NameOf);

// What the binary says is what is killed at, here or by the tests of elsewhere.h.
TEST(FaultList, HasNoPointWithoutAKillTest) {
  std::multiset<std::string> killed;
  for (const auto& points : {PointsOfARun(), PointsReachedElsewhere()})
    for (std::string_view point : points) killed.insert(std::string(point));
  const std::vector<std::string> listed = ListedFaults();
  EXPECT_GT(listed.size(), 50u);
  EXPECT_EQ(std::multiset<std::string>(listed.begin(), listed.end()), killed);
}

// A step that fails instead: the run ends with a receipt, and the runner goes on by itself.
class FailAt : public KillAt {};

TEST_P(FailAt, EndsInOneReceiptWithoutARestart) {
  const std::string point(GetParam());
  world_.StartPlane(OnPlane(point) ? point + ":fail" : "");
  world_.StartRunner(OnPlane(point) ? "" : point + ":fail");
  const std::string run_id = Submit(point);
  if (point == "call.renew.after") CancelOnceRunning(run_id);
  ASSERT_TRUE(world_.AwaitReached(point, kDeath)) << world_.Log();
  ExpectAllWell(run_id);
}

// Those of a run that neither plane nor runner dies in. What recovers cannot fail, only stop; nor
// is there anything before the claim is read that could.
std::vector<std::string_view> PointsThatFail() {
  std::vector<std::string_view> out;
  for (std::string_view point : PointsOfARun())
    if (!InRecovery(std::string(point)) && !NeedsLostPlane(std::string(point)) &&
        point != "session.verify.before")
      out.push_back(point);
  return out;
}

INSTANTIATE_TEST_SUITE_P(EveryPoint, FailAt, ::testing::ValuesIn(PointsThatFail()), NameOf);

// A step that stands still for ever. Of the plane only one answer is missing then: the runner asks
// again. A runner is restarted, as its service manager's watchdog does.
class StallAt : public KillAt {};

TEST_P(StallAt, EndsInOneReceiptAndLeavesNothing) {
  const std::string point(GetParam());
  const std::string stall = point + ":stall";
  std::string run_id;
  if (OnPlane(point)) {
    world_.StartPlane(stall);
    world_.StartRunner();
    run_id = Submit(point);
    ASSERT_TRUE(world_.AwaitReached(point, kDeath)) << world_.Log();
    EXPECT_TRUE(world_.Await([&] { return world_.Ended(world_.Run(run_id)); }, kStalled))
        << "one answer that does not come must not hold up the run" << world_.Log();
    world_.KillPlane();  // its handler stands still to the end
    world_.StartPlane();
  } else {
    world_.StartPlane();
    if (InRecovery(point)) {
      world_.StartRunner("session.watch.before:kill");
      run_id = Submit(point);
      ASSERT_TRUE(world_.AwaitDeath(world_.runner(), kDeath)) << world_.Log();
      world_.StartRunner(stall);
    } else {
      world_.StartRunner(stall);
      run_id = Submit(point);
      if (point == "call.renew.after") CancelOnceRunning(run_id);
    }
    ASSERT_TRUE(world_.AwaitReached(point, kDeath)) << world_.Log();
    world_.KillRunner();
    world_.StartRunner();
  }
  ExpectAllWell(run_id);
}

std::vector<std::string_view> PointsThatStall() {
  std::vector<std::string_view> out;
  for (std::string_view point : PointsOfARun())
    if (!NeedsLostPlane(std::string(point))) out.push_back(point);
  return out;
}

INSTANTIATE_TEST_SUITE_P(EveryPoint, StallAt, ::testing::ValuesIn(PointsThatStall()), NameOf);

}  // namespace
}  // namespace writ::test
