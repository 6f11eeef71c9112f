// The machine's capacity as its cgroups leave it, at both ends (L42).
#include "writ/backends/linux/machine.h"

#include <gtest/gtest.h>

namespace writ::backends {
namespace {

TEST(Machine, ReadsACpuQuotaAtBothEnds) {
  EXPECT_EQ(CpuQuotaMillis("150000 100000\n"), 1500u);
  EXPECT_EQ(CpuQuotaMillis("1 1000000\n"), 1u);  // less than a thousandth is not nothing
  EXPECT_EQ(CpuQuotaMillis("max 100000\n"), std::nullopt);
  EXPECT_EQ(CpuQuotaMillis("-1 100000"), std::nullopt);
  EXPECT_EQ(CpuQuotaMillis("100000 0"), std::nullopt);
  EXPECT_EQ(CpuQuotaMillis("18446744073709551615 1"), std::nullopt);
  EXPECT_EQ(CpuQuotaMillis("100000"), std::nullopt);
  EXPECT_EQ(CpuQuotaMillis(""), std::nullopt);
}

TEST(Machine, HasWhatItHas) {
  MachineCapacity machine = ProbeMachine();
  EXPECT_GE(machine.cpu_millis, 1u);
  EXPECT_GT(machine.memory_bytes, 1u << 20);
  EXPECT_GT(machine.available_memory_bytes, 0u);
  EXPECT_LE(machine.available_memory_bytes, machine.memory_bytes);
}

}  // namespace
}  // namespace writ::backends
