#include <gtest/gtest.h>
#include <linux/seccomp.h>

#include <algorithm>

#include "writ/backends/linux/job_filter.h"

namespace writ::backends {
namespace {

bool Returns(const std::vector<sock_filter>& program, std::uint32_t action) {
  return std::any_of(program.begin(), program.end(), [action](const sock_filter& op) {
    return BPF_CLASS(op.code) == BPF_RET && op.k == action;
  });
}

TEST(JobFilter, FitsTheKernelsLimitAndKillsForeignInterfaces) {
  for (JobSurroundings surroundings : {JobSurroundings::kTheHosts, JobSurroundings::kNamespaces}) {
    auto program = CompileJobFilter(ConnectRule::kSupervised, surroundings);
    ASSERT_TRUE(program) << program.error().ToString();
    EXPECT_GT(program->size(), 50u);
    EXPECT_LE(program->size(), static_cast<std::size_t>(BPF_MAXINSNS));
    EXPECT_TRUE(Returns(*program, SECCOMP_RET_KILL_PROCESS));
    EXPECT_TRUE(Returns(*program, SECCOMP_RET_USER_NOTIF));
  }
}

TEST(JobFilter, AsksNobodyWhereThereIsNoSupervision) {
  auto program = CompileJobFilter(ConnectRule::kAllowed, JobSurroundings::kTheHosts);
  ASSERT_TRUE(program);
  EXPECT_FALSE(Returns(*program, SECCOMP_RET_USER_NOTIF));
}

}  // namespace
}  // namespace writ::backends
