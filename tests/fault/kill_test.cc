// A plane or a runner is killed at each fault point there is, and started again: exactly one
// receipt, nothing left, nothing lost, nothing leaked (L38). The points are those of the build's
// own list, so one that is added without being reached here fails.
#include <gtest/gtest.h>

#include <set>

#include "fault/support/fault_world.h"
#include "writ/base/fault.h"

namespace writ::test {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kDeath{45'000};
constexpr milliseconds kEnd{90'000};

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
// Not reached by a short run: journal_kill_test.cc and collection_kill_test.cc kill there.
bool NotInAShortRun(std::string_view point) {
  return point.starts_with("plane.gc.") || point.starts_with("journal.token.") ||
         point.starts_with("journal.park.");
}

std::vector<std::string_view> PointsOfARun() {
  std::vector<std::string_view> out;
  for (std::string_view point : fault::kPoints)
    if (!NotInAShortRun(point)) out.push_back(point);
  return out;
}

class KillAt : public ::testing::TestWithParam<std::string_view> {
 protected:
  void DieAndGoOn(const std::string& point, Death death);
  void ExpectAllWell(const std::string& run_id) {
    const bool ended = world_.Await([&] { return world_.Ended(world_.Run(run_id)); }, kEnd);
    ASSERT_TRUE(ended) << json::Write(world_.Run(run_id)) << world_.Log();
    EXPECT_TRUE(world_.Await([&] { return world_.WaitingReceipts().empty(); }, kEnd))
        << world_.WaitingReceipts().front() << world_.Log();
    EXPECT_EQ(world_.DrainRunner(), 0) << world_.Log();
    EXPECT_EQ(world_.ReceiptProblems(run_id), std::vector<std::string>()) << world_.Log();
    EXPECT_EQ(world_.SecretProblems(), std::vector<std::string>());
    EXPECT_EQ(world_.StopPlane(), 0) << world_.Log();
    EXPECT_EQ(world_.LeftoverProblems(), std::vector<std::string>()) << world_.Log();
    EXPECT_EQ(world_.SecretProblems(), std::vector<std::string>());
  }
  FaultWorld world_;
};

void KillAt::DieAndGoOn(const std::string& point, Death death) {
  const std::string fault = point + ":kill";
  std::string run_id;
  if (OnPlane(point)) {
    world_.StartPlane(fault, death);
    world_.StartRunner();
    run_id = world_.Submit();
    ASSERT_TRUE(world_.AwaitDeath(world_.plane(), kDeath))
        << "the point was not reached" << world_.Log();
    world_.StartPlane();
  } else if (InRecovery(point)) {
    world_.StartPlane();
    world_.StartRunner("session.watch.before:kill", 1, death);
    run_id = world_.Submit();
    ASSERT_TRUE(world_.AwaitDeath(world_.runner(), kDeath)) << world_.Log();
    world_.StartRunner(fault, 1, death);
    ASSERT_TRUE(world_.AwaitDeath(world_.runner(), kDeath))
        << "the point was not reached" << world_.Log();
    world_.StartRunner();
  } else if (NeedsLostPlane(point)) {
    world_.StartPlane();
    // As a runner that died with a receipt in hand: what it finds at its start waits.
    world_.StartRunner("call.complete.before:kill", 1, death);
    run_id = world_.Submit();
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
    run_id = world_.Submit();
    if (point == "call.renew.after") {
      // The plane holds the call until there is something to say.
      ASSERT_TRUE(world_.Await([&] { return world_.Run(run_id).FindString("status") == "running"; },
                               kDeath))
          << world_.Log();
      world_.Cancel(run_id);
    }
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

// What the binary says is what is killed at: here, in journal_kill_test.cc or in
// collection_kill_test.cc.
TEST(FaultList, HasNoPointWithoutAKillTest) {
  std::set<std::string> killed;
  for (std::string_view point : PointsOfARun()) killed.insert(std::string(point));
  for (std::string_view point : fault::kPoints)
    if (point.starts_with("journal.") || point.starts_with("plane.gc."))
      killed.insert(std::string(point));
  const std::vector<std::string> listed = ListedFaults();
  EXPECT_GT(listed.size(), 50u);
  EXPECT_EQ(std::set<std::string>(listed.begin(), listed.end()), killed);
}

// A step that fails instead: the run ends with a receipt, and the runner goes on by itself.
class FailAt : public KillAt {};

TEST_P(FailAt, EndsInOneReceiptWithoutARestart) {
  world_.StartPlane(OnPlane(std::string(GetParam())) ? std::string(GetParam()) + ":fail" : "");
  world_.StartRunner(OnPlane(std::string(GetParam())) ? "" : std::string(GetParam()) + ":fail");
  ExpectAllWell(world_.Submit());
}

INSTANTIATE_TEST_SUITE_P(
    SomePoints, FailAt,
    ::testing::Values("session.decide.before", "session.materialize.after", "session.prepare.after",
                      "session.proxy.before", "session.start.before", "session.start.after",
                      "journal.begin.before", "journal.events.before", "journal.events.after",
                      "journal.collected.before", "journal.uploaded.after", "journal.close.before",
                      "call.claim.after", "call.acknowledge.after", "call.get_blob.after",
                      "call.events.after", "call.put_blob.before", "call.complete.after",
                      "plane.claim.committed", "plane.acknowledge.committed",
                      "plane.events.committed", "plane.piece.written", "plane.piece.stored",
                      "plane.complete.countersigned", "plane.complete.committed"),
    NameOf);

}  // namespace
}  // namespace writ::test
