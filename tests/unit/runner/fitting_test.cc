// What of the machine runs may have, and whether one more has room (L41, L42).
#include "engine/fitting.h"

#include <gtest/gtest.h>

#include <limits>

namespace writ::runner {
namespace {

constexpr std::uint64_t kMiB = 1u << 20;
constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();

backends::MachineCapacity Machine(std::uint64_t cpu_millis, std::uint64_t memory_bytes) {
  backends::MachineCapacity machine;
  machine.cpu_millis = cpu_millis;
  machine.memory_bytes = memory_bytes;
  return machine;
}

TEST(Fitting, TheCapacityIsTheMachinesLessWhatIsKeptFree) {  // L42
  RunnerConfig config;
  config.slots = 4;
  config.limits.min_free_memory_bytes = 100 * kMiB;
  SlotCapacity all = CapacityFor(config, Machine(2000, 1000 * kMiB));
  EXPECT_EQ(all.slots, 4u);
  EXPECT_EQ(all.total.cpu_millis, 2000u);
  EXPECT_EQ(all.total.memory_bytes, 900 * kMiB);
  config.capacity = {500, 200 * kMiB, 0};
  SlotCapacity wished = CapacityFor(config, Machine(2000, 1000 * kMiB));
  EXPECT_EQ(wished.total.cpu_millis, 500u);
  EXPECT_EQ(wished.total.memory_bytes, 200 * kMiB);
  config.capacity = {kMost, kMost, 0};
  SlotCapacity clamped = CapacityFor(config, Machine(2000, 1000 * kMiB));
  EXPECT_EQ(clamped.total.cpu_millis, 2000u);
  EXPECT_EQ(clamped.total.memory_bytes, 900 * kMiB);
}

TEST(Fitting, ARunThatAsksForNoDiskGetsAnEqualPartOrALittleLess) {  // L42
  const SlotCapacity capacity{4, {0, 0, 100}};
  EXPECT_EQ(OrdinaryDisk(capacity, 0, 0), 25u);
  EXPECT_EQ(OrdinaryDisk(capacity, 0, 10), 10u);
  EXPECT_EQ(OrdinaryDisk(capacity, 75, 0), 25u);
  EXPECT_EQ(OrdinaryDisk(capacity, 80, 0), 20u);  // a cache has grown: the slot works all the same
  EXPECT_EQ(OrdinaryDisk(capacity, 90, 0), 25u);  // too little: it waits
  EXPECT_EQ(OrdinaryDisk({4, {}}, 0, 10), 0u);    // nobody knows what there is
  EXPECT_EQ(OrdinaryDisk({4, {0, 0, 1}}, kMost, 0), 1u);
}

TEST(Fitting, ARunHasRoomOnlyWhereWhatIsKeptFreeStaysFree) {  // L41
  OperatorLimits limits;
  limits.min_free_memory_bytes = 10 * kMiB;
  limits.min_free_disk_bytes = 20 * kMiB;
  const FreeNow now{100 * kMiB, 100 * kMiB};
  EXPECT_TRUE(CheckFree(90 * kMiB, 80 * kMiB, now, limits));
  Status memory = CheckFree(90 * kMiB + 1, 0, now, limits);
  ASSERT_FALSE(memory);
  EXPECT_EQ(memory.error().code, "fit.memory");
  Status disk = CheckFree(0, 80 * kMiB + 1, now, limits);
  ASSERT_FALSE(disk);
  EXPECT_EQ(disk.error().code, "fit.disk");
}

TEST(Fitting, IsRightAtBothEndsOfTheNumbers) {  // L42
  OperatorLimits limits;
  limits.min_free_memory_bytes = kMost;
  EXPECT_FALSE(CheckFree(1, 0, {kMost - 1, 0}, limits));
  limits.min_free_memory_bytes = 1;
  EXPECT_FALSE(CheckFree(kMost, 0, {kMost, 0}, limits));
  EXPECT_TRUE(CheckFree(kMost - 1, 0, {kMost, 0}, limits));
  EXPECT_TRUE(CheckFree(0, 0, {1, 1}, limits));             // asks for nothing
  EXPECT_TRUE(CheckFree(kMost, kMost, FreeNow{}, limits));  // not known
}

}  // namespace
}  // namespace writ::runner
