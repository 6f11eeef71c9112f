// Two runners on one machine never share a uid: what is left of a run is found by its uid and
// killed.
#include "uid_reservation.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <set>
#include <string>

#include "test_plane.h"

namespace writ::cli {
namespace {

class Uids : public ::testing::Test {
 protected:
  UidRequest Ask(const std::string& runner, std::uint32_t count = 2) {
    UidRequest request;
    request.lock_dir = folder_.path() + "/locks";
    request.state_dir = folder_.path() + "/" + runner;
    request.work_dir = request.state_dir + "/work";
    request.range = runner::UidRange{kDefaultFirstUid, count};
    return request;
  }
  test::TempFolder folder_;
};

bool Overlap(const runner::UidRange& a, const runner::UidRange& b) {
  return a.first < b.first + b.count && b.first < a.first + a.count;
}

TEST_F(Uids, OfTwoRunnersAreNeverTheSame) {  // L42
  auto one = ReserveUids(Ask("one", 5));
  auto two = ReserveUids(Ask("two", 3));
  auto three = ReserveUids(Ask("three", 1));
  ASSERT_TRUE(one && two && three) << one.error().ToString();
  EXPECT_EQ(two->range.count, 3u);
  EXPECT_FALSE(Overlap(one->range, two->range));
  EXPECT_FALSE(Overlap(one->range, three->range));
  EXPECT_FALSE(Overlap(two->range, three->range));
}

TEST_F(Uids, AreGivenBackWithTheRunnerAndComeAgainWithIt) {
  auto one = ReserveUids(Ask("one"));
  auto two = ReserveUids(Ask("two"));
  ASSERT_TRUE(one && two);
  const uid_t first = two->range.first;
  one->lock.reset();
  two->lock.reset();
  // The same runner finds its own again, though lower ones are free: leftovers are known by them.
  auto again = ReserveUids(Ask("two"));
  ASSERT_TRUE(again);
  EXPECT_EQ(again->range.first, first);
  EXPECT_TRUE(again->moved.empty());
}

// One that was killed finds its own free, whoever started meanwhile.
TEST_F(Uids, AreLookedForAtAPlaceOfTheRunnersOwnFirst) {  // L38
  std::set<uid_t> places;
  for (int i = 0; i < 100; ++i) {
    const uid_t first = FirstUidFor("/var/lib/writ/runner/pool-" + std::to_string(i));
    EXPECT_GE(first, kDefaultFirstUid);
    EXPECT_LE(first + 100, kDefaultFirstUid + kDefaultUidSpan);
    EXPECT_EQ(first % 100, 0u);
    places.insert(first);
  }
  EXPECT_GT(places.size(), 90u);
  EXPECT_EQ(FirstUidFor("/a"), FirstUidFor("/a"));
}

TEST_F(Uids, MoveWithASentenceWhereAnotherRunnerTookThem) {
  auto one = ReserveUids(Ask("one"));
  ASSERT_TRUE(one);
  const uid_t first = one->range.first;
  one->lock.reset();
  UidRequest greedy = Ask("two");
  greedy.range = one->range;
  greedy.choice = UidChoice::kOperators;
  auto two = ReserveUids(greedy);
  ASSERT_TRUE(two);
  EXPECT_EQ(two->range.first, first);
  auto again = ReserveUids(Ask("one"));
  ASSERT_TRUE(again);
  EXPECT_FALSE(Overlap(again->range, two->range));
  EXPECT_NE(again->moved.find("another runner on this machine uses the uids"), std::string::npos);
}

TEST_F(Uids, DoNotMoveWhileRunsAreLeftThatAreKnownByThem) {  // L38
  auto one = ReserveUids(Ask("one"));
  ASSERT_TRUE(one);
  one->lock.reset();
  std::filesystem::create_directories(Ask("one").work_dir + "/sessions/run_left");
  UidRequest other = Ask("two");
  other.range = one->range;
  other.choice = UidChoice::kOperators;
  auto two = ReserveUids(other);
  ASSERT_TRUE(two);
  auto refused = ReserveUids(Ask("one"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "runner.uids_taken");
  two->lock.reset();
  EXPECT_TRUE(ReserveUids(Ask("one")));
}

TEST_F(Uids, OfAnOperatorsRangeAreTakenAsTheyAreOrRefused) {
  UidRequest one = Ask("one");
  one.choice = UidChoice::kOperators;
  one.range = runner::UidRange{3000, 10};
  auto first = ReserveUids(one);
  ASSERT_TRUE(first);
  UidRequest two = Ask("two");
  two.choice = UidChoice::kOperators;
  two.range = runner::UidRange{3009, 4};
  auto refused = ReserveUids(two);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kConflict);
  EXPECT_NE(refused.error().message.find("3009-3012"), std::string::npos);
  EXPECT_NE(refused.error().message.find("3000-3009"), std::string::npos);
  two.range.first = 3010;  // right behind it: nobody's
  EXPECT_TRUE(ReserveUids(two));
}

TEST_F(Uids, AreNotKeptApartByALockThatOthersCanWrite) {
  ASSERT_TRUE(ReserveUids(Ask("one")));
  const std::string lock = Ask("one").lock_dir + "/uids";
  ASSERT_EQ(::chmod(lock.c_str(), 0666), 0);
  auto refused = ReserveUids(Ask("one"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "runner.uids_dir");
  // Nor by a link that leads elsewhere.
  ASSERT_EQ(::unlink(lock.c_str()), 0);
  ASSERT_EQ(::symlink("/dev/null", lock.c_str()), 0);
  EXPECT_FALSE(ReserveUids(Ask("one")));
  ASSERT_EQ(::unlink(lock.c_str()), 0);
  ASSERT_EQ(::chmod(Ask("one").lock_dir.c_str(), 0777), 0);
  EXPECT_FALSE(ReserveUids(Ask("one")));
}

TEST_F(Uids, AreNotGuessedFromAFileThatSomebodyChanged) {
  ASSERT_TRUE(ReserveUids(Ask("one")));
  test::WriteText(Ask("one").state_dir + "/uids.json", R"({"first":0,"count":2})");
  auto refused = ReserveUids(Ask("one"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kIntegrity);
}

}  // namespace
}  // namespace writ::cli
