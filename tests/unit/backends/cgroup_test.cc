#include "writ/backends/linux/cgroup.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "writ/base/file.h"

namespace writ::backends {
namespace {

TEST(Cgroup, ProbeLeavesNothingBehindAndGroupsAreRemoved) {
  CgroupSupport support = ProbeCgroups();
  if (support.pids_base.empty()) GTEST_SKIP() << support.reason;
  std::string dir;
  {
    auto set = CgroupSet::Create(support, "unit_" + std::to_string(::getpid()),
                                 {.processes = 10, .memory_bytes = 0});
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
  auto first = CgroupSet::Create(support, name, {.processes = 10, .memory_bytes = 0});
  ASSERT_TRUE(first);
  EXPECT_FALSE(CgroupSet::Create(support, name, {.processes = 10, .memory_bytes = 0}));
}

}  // namespace
}  // namespace writ::backends
