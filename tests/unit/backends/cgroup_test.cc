#include "writ/backends/linux/cgroup.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "writ/backends/linux/cgroup_delegation.h"
#include "writ/base/file.h"

namespace writ::backends {
namespace {

TEST(Cgroup, ProbeLeavesNothingBehindAndGroupsAreRemoved) {
  CgroupSupport support = ProbeCgroups();
  if (support.pids_base.empty()) GTEST_SKIP() << support.reason;
  std::string dir;
  {
    auto set = CgroupSet::Create(
        PlanCgroups(support, "unit_" + std::to_string(::getpid()), {.processes = 10}));
    ASSERT_TRUE(set) << set.error().ToString();
    dir = support.pids_base + "/writ-unit_" + std::to_string(::getpid());
    auto limit = ReadFile(dir + "/pids.max", 100);
    ASSERT_TRUE(limit);
    EXPECT_EQ(*limit, "10\n");
  }
  EXPECT_NE(::access(dir.c_str(), F_OK), 0);
}

TEST(Cgroup, RefusesANameThatIsTaken) {
  CgroupSupport support = ProbeCgroups();
  if (support.pids_base.empty()) GTEST_SKIP() << support.reason;
  const std::string name = "twice_" + std::to_string(::getpid());
  const CgroupPlan plan = PlanCgroups(support, name, {.processes = 10});
  auto first = CgroupSet::Create(plan);
  ASSERT_TRUE(first);
  EXPECT_FALSE(CgroupSet::Create(plan));
  EXPECT_EQ(::access((support.pids_base + "/writ-" + name).c_str(), F_OK), 0);  // still the first's
}

TEST(Cgroup, PlansEveryLimitOfAV2HostInOneGroup) {
  CgroupSupport v2;
  v2.kill_base = v2.pids_base = v2.memory_base = v2.cpu_base = v2.io_base = "/cg";
  v2.pids_is_v2 = v2.memory_is_v2 = v2.cpu_is_v2 = v2.io_is_v2 = true;
  v2.disks = {"254:0", "8:16"};
  const CgroupPlan plan = PlanCgroups(
      v2, "r",
      {.processes = 7, .memory_bytes = 4096, .cpu_millis = 1500, .io_bytes_per_second = 1000});
  EXPECT_EQ(plan.directories, std::vector<std::string>{"/cg/writ-r"});
  std::string writes;
  for (const CgroupPlan::Write& write : plan.writes)
    writes += write.file + " " + write.value + "\n";
  EXPECT_EQ(writes,
            "/cg/writ-r/cpu.max 150000 100000\n"
            "/cg/writ-r/pids.max 7\n"
            "/cg/writ-r/memory.max 4096\n"
            "/cg/writ-r/memory.swap.max 0\n"
            "/cg/writ-r/memory.oom.group 1\n"
            "/cg/writ-r/io.max 254:0 rbps=1000 wbps=1000\n"
            "/cg/writ-r/io.max 8:16 rbps=1000 wbps=1000\n");
}

TEST(Cgroup, SeesThatAPlaceForGroupsIsGone) {
  std::string dir = "/tmp/writ-groups-XXXXXX";
  ASSERT_NE(::mkdtemp(dir.data()), nullptr);
  CgroupSupport support;
  support.freezer_base = dir;
  EXPECT_EQ(support.Lost(), "");
  ASSERT_EQ(::rmdir(dir.c_str()), 0);
  EXPECT_EQ(support.Lost(), dir);
}

// What is taken over is tested where there are v2 controllers: tests/guest.
TEST(CgroupDelegation, TakesNothingThatIsNotOffered) {
  const CgroupDelegation before = LookAtDelegation();
  if (before.state == CgroupDelegation::State::kOffered) GTEST_SKIP() << "this host offers one";
  const auto groups = ReadFile("/proc/self/cgroup", 1 << 16);
  EXPECT_TRUE(TakeDelegatedGroup());
  EXPECT_EQ(*ReadFile("/proc/self/cgroup", 1 << 16), *groups);
  EXPECT_EQ(LookAtDelegation().state, before.state);
  EXPECT_EQ(before.reason.empty(), before.state != CgroupDelegation::State::kRefused);
  EXPECT_EQ(before.mend.empty(), before.reason.empty());
}

TEST(Cgroup, HoldsTheRateOfEachDiskWhereTheKernelTakesOne) {
  const CgroupSupport support = ProbeCgroups();
  if (support.io_base.empty()) GTEST_SKIP() << "no io or blkio controller can be written here";
  const std::string name = "rate_" + std::to_string(::getpid());
  auto set = CgroupSet::Create(PlanCgroups(support, name, {.io_bytes_per_second = 1 << 20}));
  ASSERT_TRUE(set) << set.error().ToString();
  const char* file = support.io_is_v2 ? "/io.max" : "/blkio.throttle.write_bps_device";
  auto held = ReadFile(support.io_base + "/writ-" + name + file, 4096);
  ASSERT_TRUE(held);
  EXPECT_NE(held->find(support.disks.front()), std::string::npos) << *held;
  EXPECT_NE(held->find("1048576"), std::string::npos) << *held;
}

}  // namespace
}  // namespace writ::backends
