// Slots by count, CPU, memory and disk, at both ends (L42), and given back only after a verified
// teardown (L37).
#include "engine/slot_pool.h"

#include <gtest/gtest.h>

#include <limits>

namespace writ::runner {
namespace {

constexpr std::uint64_t kGiB = 1ull << 30;
constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();

SlotPool Pool(unsigned slots, std::uint64_t cpu_millis, std::uint64_t memory_bytes) {
  return SlotPool(SlotCapacity{slots, {cpu_millis, memory_bytes}});
}

TEST(SlotPool, IsClampedToTheMachineWhateverTheOperatorWants) {  // L42
  const ResourceShare machine{4000, 8 * kGiB};
  SlotCapacity most = ClampToMachine({kMaxSlots * 4, {kMost, kMost}}, machine, {500, kGiB});
  EXPECT_EQ(most.slots, kMaxSlots);
  EXPECT_EQ(most.total.cpu_millis, 3500u);
  EXPECT_EQ(most.total.memory_bytes, 7 * kGiB);
  SlotCapacity least = ClampToMachine({0, {1, 1}}, machine, {});
  EXPECT_EQ(least.slots, 1u);
  EXPECT_EQ(least.total.cpu_millis, 1u);
  EXPECT_EQ(least.total.memory_bytes, 1u);
  SlotCapacity all = ClampToMachine({2, {0, 0}}, machine, {});
  EXPECT_EQ(all.total.cpu_millis, 4000u);
  EXPECT_EQ(all.total.memory_bytes, 8 * kGiB);
}

TEST(SlotPool, KeepsAKnownCapacityKnownEvenWhereAllOfItIsKeptFree) {  // L42
  SlotCapacity none = ClampToMachine({1, {0, 0}}, {1000, kGiB}, {kMost, kMost});
  EXPECT_EQ(none.total.cpu_millis, 1u);  // 0 would mean: without a limit
  EXPECT_EQ(none.total.memory_bytes, 1u);
}

TEST(SlotPool, DividesEquallyAndNeverToNothing) {
  ResourceShare share = EqualShare({4, {2000, 8 * kGiB}}, {});
  EXPECT_EQ(share.cpu_millis, 500u);
  EXPECT_EQ(share.memory_bytes, 2 * kGiB);
  EXPECT_EQ(EqualShare({kMaxSlots, {3, 5}}, {}).cpu_millis, 1u);
  EXPECT_EQ(EqualShare({4, {2000, 8 * kGiB}}, {kMost, kGiB}).cpu_millis, 2000u);
  EXPECT_EQ(EqualShare({4, {2000, 8 * kGiB}}, {kMost, kGiB}).memory_bytes, kGiB);
  EXPECT_EQ(EqualShare({4, {0, 0}}, {}).memory_bytes, 0u);
}

TEST(SlotPool, IsFullByCountBeforeItIsByShare) {
  SlotPool pool = Pool(2, 0, 0);
  EXPECT_EQ(*pool.Reserve({}), 0u);
  EXPECT_EQ(*pool.Reserve({kMost, kMost}), 1u);  // nothing is known, nothing is limited
  EXPECT_FALSE(pool.Fits({}));
  auto full = pool.Reserve({});
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, "slots.busy");
  EXPECT_EQ(full.error().kind, ErrorKind::kOverloaded);
}

TEST(SlotPool, IsFullByMemoryAndByCpuToTheLastUnit) {
  SlotPool pool = Pool(8, 1000, 1000);
  ASSERT_TRUE(pool.Reserve({1, 999}));
  EXPECT_TRUE(pool.Fits({1, 1}));
  EXPECT_FALSE(pool.Fits({1, 2}));
  ASSERT_TRUE(pool.Reserve({999, 1}));
  EXPECT_EQ(pool.reserved().cpu_millis, 1000u);
  EXPECT_EQ(pool.reserved().memory_bytes, 1000u);
  EXPECT_FALSE(pool.Fits({1, 0}));
  EXPECT_FALSE(pool.Fits({0, 1}));
  EXPECT_TRUE(pool.Fits({0, 0}));
}

TEST(SlotPool, NeverGivesTheSameDiskToTwoRuns) {  // L41, L42
  SlotPool pool = Pool(4, 0, 0);
  pool.SetDiskTotal(100);
  unsigned first = *pool.Reserve({0, 0, 60});
  EXPECT_FALSE(pool.Fits({0, 0, 41}));
  EXPECT_TRUE(pool.Fits({0, 0, 40}));
  EXPECT_EQ(pool.Reserve({0, 0, 101}).error().code, "slots.too_large");
  EXPECT_EQ(pool.ShareOf(first).disk_bytes, 60u);
  pool.SetDiskTotal(50);  // others have taken some: what is given stays, nothing more is
  EXPECT_EQ(pool.reserved().disk_bytes, 60u);
  EXPECT_FALSE(pool.Fits({0, 0, 1}));
  ASSERT_TRUE(pool.End(first, Teardown::kVerified));
  EXPECT_TRUE(pool.Fits({0, 0, 50}));
}

// Runs in work have written between nothing and all that they were given.
TEST(SlotPool, TakesTheDiskForWhatItCanBeByWhatIsFreeAndGiven) {
  EXPECT_EQ(DiskTotal(0, 100, 0), 100u);
  EXPECT_EQ(DiskTotal(100, 40, 60), 100u);   // the runs have written it
  EXPECT_EQ(DiskTotal(100, 30, 60), 90u);    // and somebody else 10
  EXPECT_EQ(DiskTotal(100, 120, 60), 120u);  // somebody has given some back
  EXPECT_EQ(DiskTotal(100, 0, 0), 1u);       // 0 would mean: without a limit
  EXPECT_EQ(DiskTotal(kMost, kMost, kMost), kMost);
}

TEST(SlotPool, TellsARunThatNeverFitsFromOneThatHasToWait) {
  SlotPool pool = Pool(2, 1000, 1000);
  auto never = pool.Reserve({1001, 0});
  ASSERT_FALSE(never);
  EXPECT_EQ(never.error().kind, ErrorKind::kUnsupported);
  auto wraps = pool.Reserve({0, kMost});
  ASSERT_FALSE(wraps);
  EXPECT_EQ(wraps.error().code, "slots.too_large");
  ASSERT_TRUE(pool.Reserve({1000, 1000}));
  auto later = pool.Reserve({1, 1});
  ASSERT_FALSE(later);
  EXPECT_EQ(later.error().kind, ErrorKind::kOverloaded);
}

TEST(SlotPool, FreesASlotOnlyAfterAVerifiedTeardown) {  // L37
  SlotPool pool = Pool(2, 1000, 0);
  unsigned clean = *pool.Reserve({400, 0});
  unsigned leaky = *pool.Reserve({400, 0});
  ASSERT_TRUE(pool.End(leaky, Teardown::kUnverified));
  ASSERT_TRUE(pool.End(clean, Teardown::kVerified));
  EXPECT_EQ(pool.out_of_service(), 1u);
  EXPECT_EQ(pool.reserved().cpu_millis, 400u);  // what is left may still use its share
  EXPECT_EQ(*pool.Reserve({600, 0}), clean);
  EXPECT_FALSE(pool.End(leaky, Teardown::kVerified));
  ASSERT_TRUE(pool.End(clean, Teardown::kUnverified));
  auto none = pool.Reserve({});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, "slots.none");
}

TEST(SlotPool, NeverReleasesWhatWasNotAcquired) {  // L37
  SlotPool pool = Pool(1, 0, 0);
  EXPECT_FALSE(pool.End(0, Teardown::kVerified));
  EXPECT_FALSE(pool.End(kMaxSlots, Teardown::kVerified));
  EXPECT_FALSE(pool.Resize(0, {}));
  unsigned slot = *pool.Reserve({});
  ASSERT_TRUE(pool.End(slot, Teardown::kVerified));
  auto twice = pool.End(slot, Teardown::kVerified);
  ASSERT_FALSE(twice);
  EXPECT_EQ(twice.error().kind, ErrorKind::kConflict);
}

TEST(SlotPool, ResizesWithinTheTotalAndKeepsTheOldShareWhereItCannot) {
  SlotPool pool = Pool(2, 1000, 1000);
  unsigned first = *pool.Reserve({500, 500});
  unsigned second = *pool.Reserve({500, 500});
  EXPECT_FALSE(pool.Resize(first, {501, 500}));
  EXPECT_EQ(pool.reserved().cpu_millis, 1000u);
  ASSERT_TRUE(pool.Resize(second, {100, 500}));
  ASSERT_TRUE(pool.Resize(first, {900, 500}));
  EXPECT_EQ(pool.reserved().cpu_millis, 1000u);
}

}  // namespace
}  // namespace writ::runner
