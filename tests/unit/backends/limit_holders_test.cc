// What holds a limit is said as it is on the host, and what nothing holds is refused (L4, L47).
#include "writ/backends/job/limit_holders.h"

#include <gtest/gtest.h>

#include "writ/backends/job/launch_planning.h"

namespace writ::backends {
namespace {

constexpr JobSurroundings kHosts = JobSurroundings::kTheHosts;

LimitHolder HolderOf(LimitKind kind, const Limits& limits, const HostFeatures& features) {
  for (const HeldLimit& held : HoldLimits(limits, features, kHosts))
    if (held.limit.kind == kind) return held.holder;
  return LimitHolder::kNone;
}

HostFeatures Host(const char* pids, bool pids_v2, const char* memory, bool memory_v2, bool root) {
  HostFeatures features;
  features.root = root;
  features.cgroups.pids_base = pids;
  features.cgroups.pids_is_v2 = pids_v2;
  features.cgroups.memory_base = memory;
  features.cgroups.memory_is_v2 = memory_v2;
  return features;
}

TEST(LimitHolders, NameTheCgroupGenerationThatReallyHolds) {  // L47
  Limits limits;
  limits.memory_bytes = 1u << 30;
  HostFeatures v2 = Host("/cg", true, "/cg", true, true);
  EXPECT_EQ(HolderOf(LimitKind::kMemory, limits, v2), LimitHolder::kCgroupV2);
  EXPECT_EQ(HolderOf(LimitKind::kProcesses, limits, v2), LimitHolder::kCgroupV2);
  HostFeatures v1 = Host("/pids", false, "/memory", false, true);
  EXPECT_EQ(HolderOf(LimitKind::kMemory, limits, v1), LimitHolder::kCgroupV1);
  EXPECT_EQ(HolderOf(LimitKind::kProcesses, limits, v1), LimitHolder::kCgroupV1);
  HostFeatures none = Host("", false, "", false, true);
  EXPECT_EQ(HolderOf(LimitKind::kMemory, limits, none), LimitHolder::kRlimit);
  EXPECT_EQ(HolderOf(LimitKind::kProcesses, limits, none), LimitHolder::kRlimit);
}

TEST(LimitHolders, LeaveTheTasksToTheUidWhereAGroupWouldOnlyCostTime) {
  Limits limits;
  EXPECT_FALSE(ProcessesInGroup(limits, Host("/pids", false, "/memory", false, true)));
  EXPECT_TRUE(ProcessesInGroup(limits, Host("/pids", false, "/memory", false, false)));
  EXPECT_TRUE(ProcessesInGroup(limits, Host("/cg", true, "", false, true)));
  limits.memory_bytes = 1;
  EXPECT_TRUE(ProcessesInGroup(limits, Host("/pids", false, "/memory", false, true)));
  EXPECT_FALSE(ProcessesInGroup(limits, Host("", false, "/memory", false, true)));
}

TEST(LimitHolders, HoldAShareOfCpuByACgroupOrSayThatNothingDoes) {  // L4, L47
  Limits limits;
  limits.cpu_millis = 500;
  HostFeatures none = Host("", false, "", false, true);
  EXPECT_EQ(HolderOf(LimitKind::kCpuShare, limits, none), LimitHolder::kNone);
  for (const HeldLimit& held : HoldLimits(limits, none, kHosts)) {
    if (held.limit.kind == LimitKind::kCpuShare) {
      EXPECT_NE(held.note, "");
    }
  }
  HostFeatures v1 = Host("/pids", false, "", false, true);
  v1.cgroups.cpu_base = "/cpu";
  EXPECT_EQ(HolderOf(LimitKind::kCpuShare, limits, v1), LimitHolder::kCgroupV1);
  EXPECT_TRUE(ProcessesInGroup(limits, v1));  // it is moved anyway
  v1.cgroups.cpu_is_v2 = true;
  EXPECT_EQ(HolderOf(LimitKind::kCpuShare, limits, v1), LimitHolder::kCgroupV2);
}

TEST(LimitHolders, HoldTheRateOfDisksByACgroupOrSayThatNothingDoes) {  // L47
  Limits limits;
  limits.io_bytes_per_second = 1u << 20;
  HostFeatures host = Host("/pids", false, "", false, true);
  for (const HeldLimit& held : HoldLimits(limits, host, kHosts)) {
    if (held.limit.kind != LimitKind::kIo) continue;
    EXPECT_EQ(held.holder, LimitHolder::kNone);
    EXPECT_NE(held.note, "");
  }
  host.cgroups.io_base = "/blkio";
  host.cgroups.disks = {"8:0"};
  EXPECT_EQ(HolderOf(LimitKind::kIo, limits, host), LimitHolder::kCgroupV1);
  EXPECT_TRUE(ProcessesInGroup(limits, host));  // it is moved anyway
  for (const HeldLimit& held : HoldLimits(limits, host, kHosts)) {
    if (held.limit.kind == LimitKind::kIo) {
      EXPECT_NE(held.note.find("holds back"), std::string::npos);
    }
  }
  host.cgroups.io_is_v2 = true;
  EXPECT_EQ(HolderOf(LimitKind::kIo, limits, host), LimitHolder::kCgroupV2);
}

// In a root of the job's own there is nowhere else to write, with Landlock or without.
TEST(LimitHolders, LeaveNoPlaceUnmeasuredButWithoutLandlockInTheHostsRoot) {  // L47
  Limits limits;
  limits.disk_bytes = 1;
  auto note = [&limits](int landlock_abi, JobSurroundings surroundings) {
    HostFeatures host;
    host.landlock_abi = landlock_abi;
    for (const HeldLimit& held : HoldLimits(limits, host, surroundings))
      if (held.limit.kind == LimitKind::kDisk) return held.note;
    return std::string("no such limit");
  };
  EXPECT_NE(note(0, kHosts).find("without Landlock"), std::string::npos);
  EXPECT_EQ(note(0, JobSurroundings::kNamespaces), note(1, kHosts));
  EXPECT_EQ(note(1, kHosts).find("Landlock"), std::string::npos);
}

TEST(LimitHolders, ListOnlyLimitsThatAreSetWithTheirSource) {
  Limits limits;
  limits.sources.wall = LimitSource::kContract;
  std::vector<PlannedLimit> planned = PlannedLimits(limits);
  ASSERT_EQ(planned.size(), 3u);
  EXPECT_EQ(LimitName(planned[0].kind), "wall");
  EXPECT_EQ(LimitSourceName(planned[0].source), "contract");
  EXPECT_EQ(LimitName(planned[1].kind), "processes");
  EXPECT_EQ(LimitName(planned[2].kind), "openFiles");
  EXPECT_EQ(LimitCode(LimitKind::kDiskFiles), LimitCode(LimitKind::kDisk));
}

TEST(LimitHolders, SayWhatARlimitLeavesOpen) {
  Limits limits;
  limits.memory_bytes = 1u << 30;
  int told_by_the_job_alone = 0;
  for (const HeldLimit& held : HoldLimits(limits, Host("", false, "", false, false), kHosts)) {
    if (held.holder != LimitHolder::kRlimit) continue;
    EXPECT_NE(held.note, "") << LimitName(held.limit.kind);
    if (held.limit.kind == LimitKind::kProcesses) continue;  // its supervisor ends the job
    ++told_by_the_job_alone;
    EXPECT_NE(held.note.find("the job's to tell"), std::string::npos) << held.note;
    EXPECT_NE(held.note.find("(RLIMIT_"), std::string::npos) << held.note;
  }
  EXPECT_EQ(told_by_the_job_alone, 2);  // memory, openFiles
}

}  // namespace
}  // namespace writ::backends
