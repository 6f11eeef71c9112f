// Programs that take too much: each is ended for the right reason, with its whole tree, and leaves
// nothing (L16, L18, L37). A glutton that nobody stops would exit 0.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <optional>

#include "conformance/job_fixture.h"
#include "support/places.h"
#include "writ/backends/process_backend.h"

namespace writ::test {
namespace {

using backends::LimitHolder;
using backends::LimitKind;
using backends::Outcome;
using std::chrono::milliseconds;
using testing::IsEmpty;

constexpr std::uint64_t kMiB = 1u << 20;

enum class On { kThisHost, kOnlyCgroupV1, kNoCgroups };

void PrintTo(On on, std::ostream* out) {
  *out << (on == On::kThisHost ? "ThisHost" : on == On::kNoCgroups ? "NoCgroups" : "OnlyCgroupV1");
}

class Gluttons : public testing::TestWithParam<On> {
 protected:
  void SetUp() override {
    if (std::string why = WhyNoJobs(); !why.empty()) GTEST_SKIP() << why;
    using Cgroups = backends::ProcessBackendOptions::Cgroups;
    backend_ = backends::MakeProcessBackend(
        {.launcher = writ::test::BinDir() + "/writ-launch",
         .cgroups = GetParam() == On::kThisHost    ? Cgroups::kAsProbed
                    : GetParam() == On::kNoCgroups ? Cgroups::kAssumeAbsent
                                                   : Cgroups::kAssumeNoV2});
    program_ = job_.Install("glutton");
  }

  backends::Plan PlanFor(const char* glutton) {
    backends::Plan plan = job_.MakePlan({program_, glutton});
    plan.limits.wall_timeout = std::chrono::minutes(2);
    return plan;
  }
  JobRun Run(backends::Plan plan) {
    JobRun run = job_.Run(*backend_, std::move(plan));
    EXPECT_TRUE(run.started) << run.started.error().ToString();
    EXPECT_TRUE(run.dismantled.tree_dead_verified);
    EXPECT_THAT(run.dismantled.leaks, IsEmpty());
    EXPECT_THAT(run.dismantled.errors, IsEmpty());
    EXPECT_THAT(job_.LeftBehind(), IsEmpty());
    return run;
  }
  void ExpectEndedBy(const JobRun& run, LimitKind kind) {
    ASSERT_TRUE(run.outcome.limit)
        << OutcomeKindName(run.outcome.kind) << ": " << run.outcome.reason << run.err;
    EXPECT_EQ(LimitName(run.outcome.limit->kind), LimitName(kind));
    EXPECT_EQ(run.outcome.kind, Outcome::Kind::kViolated);
  }
  bool HasMemoryGroup() {
    for (const backends::HeldLimit& held : HeldBy(PlanWithMemory()))
      if (held.limit.kind == LimitKind::kMemory) return held.holder != LimitHolder::kRlimit;
    return false;
  }
  backends::Plan PlanWithMemory() {
    backends::Plan plan = job_.MakePlan({"true"});
    plan.limits.memory_bytes = 64 * kMiB;
    return plan;
  }
  std::vector<backends::HeldLimit> HeldBy(backends::Plan plan) {
    return job_.Run(*backend_, std::move(plan)).outcome.limits;
  }

  JobFixture job_;
  std::string program_;
  std::unique_ptr<backends::Backend> backend_;
};

TEST_P(Gluttons, AForkBombIsEndedForItsProcesses) {
  for (const char* bomb : {"fork-bomb", "thread-bomb"}) {
    backends::Plan plan = PlanFor(bomb);
    plan.limits.processes = 50;
    ExpectEndedBy(Run(std::move(plan)), LimitKind::kProcesses);
  }
}

TEST_P(Gluttons, AFullButNotPassedLimitOfProcessesEndsNobody) {
  backends::Plan plan =
      job_.Shell("i=0; while [ $i -lt 15 ]; do sleep 0.5 & i=$((i+1)); done; wait; echo done");
  plan.limits.processes = 16;
  JobRun run = Run(std::move(plan));
  EXPECT_EQ(run.out, "done\n") << run.outcome.reason;
  EXPECT_FALSE(run.outcome.limit);
}

TEST_P(Gluttons, CpuOfTheWholeTreeCountsThoughNoProcessIsWaitedFor) {
  backends::Plan plan = PlanFor("burn-in-many-processes");
  plan.limits.cpu_time = milliseconds(1000);
  // Counted process by process, what nobody waits for is gone before it is seen.
  if (GetParam() != On::kThisHost)
    plan.argv = {"sh", "-c", "while :; do :; done & while :; do :; done"};
  JobRun run = Run(std::move(plan));
  ExpectEndedBy(run, LimitKind::kCpu);
  ASSERT_TRUE(run.outcome.usage.cpu_time);
  // What is told is no less than what the limit was held against, however busy the host is.
  EXPECT_GT(*run.outcome.usage.cpu_time, milliseconds(1000));
}

// A quota bounds what is used in whatever time it took, however busy the host is.
TEST_P(Gluttons, AShareOfCpuIsHeldForTheWholeTreeOrRefusedWhereTheContractAsksForIt) {  // L4
  backends::Plan plan = PlanFor("unused");
  plan.argv = {"sh", "-c",
               "for i in 1 2 3 4; do timeout 1 sh -c 'while :; do :; done' & done; wait"};
  plan.limits.cpu_millis = 250;
  plan.limits.sources.cpu_share = backends::LimitSource::kContract;
  Status checked = backend_->Check(plan);
  if (!checked) {
    EXPECT_EQ(checked.error().kind, ErrorKind::kUnsupported);
    EXPECT_EQ(checked.error().code, "process.limit_not_held");
    return;
  }
  EXPECT_NE(GetParam(), On::kNoCgroups);
  JobRun run = Run(std::move(plan));
  ASSERT_TRUE(run.outcome.usage.cpu_time);
  EXPECT_NE(run.outcome.usage.cpu_by, backends::Usage::CountedBy::kRusage);
  // One period more than the whole ones, and what setting the job up took outside its group.
  const auto most = run.outcome.duration / 4 + milliseconds(150);
  EXPECT_LE(*run.outcome.usage.cpu_time, most);
}

TEST_P(Gluttons, CpuTimeIsCountedByAGroupWhereThereIsOne) {  // L47
  // Its child's child ends unwaited for: only a group, or a subreaper, sees what it used.
  backends::Plan plan = PlanFor("unused");
  plan.argv = {"sh", "-c", "(timeout 0.3 sh -c 'while :; do :; done' &) ; sleep 0.5"};
  JobRun run = Run(std::move(plan));
  ASSERT_TRUE(run.outcome.usage.cpu_time);
  EXPECT_GT(run.outcome.usage.cpu_time->count(), 0);
  if (GetParam() == On::kNoCgroups) {
    EXPECT_EQ(run.outcome.usage.cpu_by, backends::Usage::CountedBy::kRusage);
  }
}

TEST_P(Gluttons, DisksAreMeteredWhereverTheBytesHide) {
  for (const char* filler :
       {"one-file", "deleted-open", "never-named", "deleted-mapped", "deleted-in-flight",
        "deleted-in-thread", "closed-directory", "deep-tree"}) {
    SCOPED_TRACE(filler);
    JobFixture job;
    backends::Plan plan = job.MakePlan({job.Install("glutton"), filler});
    plan.limits.wall_timeout = std::chrono::minutes(2);
    plan.limits.disk_bytes = 48 * kMiB;
    JobRun run = job.Run(*backend_, std::move(plan));
    if (run.outcome.status && run.outcome.status->ShellCode() == 2) continue;  // not on this host
    ExpectEndedBy(run, LimitKind::kDisk);
    EXPECT_THAT(run.dismantled.leaks, IsEmpty());
    EXPECT_THAT(job.LeftBehind(), IsEmpty());
  }
}

TEST_P(Gluttons, ManyEmptyFilesAreEndedForTheirNumber) {
  backends::Plan plan = PlanFor("many-small-files");
  plan.limits.disk_files = 3000;
  JobRun run = Run(std::move(plan));
  ExpectEndedBy(run, LimitKind::kDiskFiles);
  EXPECT_EQ(LimitCode(run.outcome.limit->kind), "limit.disk");
}

TEST_P(Gluttons, ASparseFileCountsForWhatItHolds) {
  backends::Plan plan = PlanFor("sparse");
  plan.limits.disk_bytes = 48 * kMiB;
  JobRun run = Run(std::move(plan));
  EXPECT_FALSE(run.outcome.limit) << run.outcome.reason;
  ASSERT_TRUE(run.outcome.status);
  EXPECT_EQ(run.outcome.status->ShellCode(), 0);
  ASSERT_TRUE(run.outcome.usage.disk_bytes);
  EXPECT_LT(*run.outcome.usage.disk_bytes, 48 * kMiB);
}

TEST_P(Gluttons, MemoryIsHeldAsTheRecordSays) {  // L47
  const bool whole_job = HasMemoryGroup();
  EXPECT_FALSE(whole_job && GetParam() == On::kNoCgroups);
  for (const char* bomb : {"memory-bomb", "memory-files", "memory-bomb-in-children"}) {
    SCOPED_TRACE(bomb);
    backends::Plan plan = PlanFor(bomb);
    plan.limits.memory_bytes = 64 * kMiB;
    if (whole_job) {
      JobRun run = Run(std::move(plan));
      ExpectEndedBy(run, LimitKind::kMemory);
      EXPECT_GE(run.outcome.usage.peak_memory_bytes.value_or(0), 60 * kMiB);
    } else if (bomb == std::string("memory-bomb")) {  // held per process, and refused there
      JobRun run = Run(std::move(plan));
      ASSERT_TRUE(run.outcome.status) << run.outcome.reason;
      EXPECT_EQ(run.outcome.status->ShellCode(), 1);
      EXPECT_FALSE(run.outcome.usage.peak_memory_bytes);  // unknown is absent
    }
  }
}

TEST_P(Gluttons, AMemoryLimitOfTheContractIsHeldForTheWholeJobOrRefused) {  // L4
  backends::Plan demanded = PlanWithMemory();
  demanded.limits.sources.memory = backends::LimitSource::kContract;
  Status checked = backend_->Check(demanded);
  EXPECT_EQ(checked.has_value(), HasMemoryGroup());
  if (!checked) {
    EXPECT_EQ(checked.error().kind, ErrorKind::kUnsupported);
  }
}

TEST_P(Gluttons, TheJobsOwnSigkillIsNoLimit) {
  backends::Plan plan = PlanFor("kill-itself");
  plan.limits.memory_bytes = 64 * kMiB;
  JobRun run = Run(std::move(plan));
  EXPECT_EQ(run.outcome.kind, Outcome::Kind::kSignalled);
  EXPECT_FALSE(run.outcome.limit);
}

TEST_P(Gluttons, SharedMemoryFilesOfTheHostAreRefused) {
  JobRun run = Run(PlanFor("shared-memory-file"));
  ASSERT_TRUE(run.outcome.status);
  EXPECT_EQ(run.outcome.status->ShellCode(), 1);
}

TEST_P(Gluttons, DescriptorsAreRefusedAtTheLimit) {
  backends::Plan plan = PlanFor("descriptors");
  plan.limits.open_files = 64;
  JobRun run = Run(std::move(plan));
  ASSERT_TRUE(run.outcome.status);
  EXPECT_EQ(run.outcome.status->ShellCode(), 1);
}

TEST_P(Gluttons, AFloodOnBothStreamsIsEndedOrCutByChoice) {  // L18
  backends::Plan plan = PlanFor("flood-both-streams");
  plan.limits.output = {.head_bytes = 1000, .tail_bytes = 1000, .end_job_over_bytes = 8 * kMiB};
  JobRun ended = Run(std::move(plan));
  EXPECT_EQ(ended.outcome.kind, Outcome::Kind::kOutputLimit);
  ASSERT_TRUE(ended.outcome.limit);
  EXPECT_EQ(LimitCode(ended.outcome.limit->kind), "limit.output");
  EXPECT_LT(ended.out.size() + ended.err.size(), 10'000u);

  backends::Plan cut = PlanFor("flood-both-streams");
  cut.limits.output = {.head_bytes = 1000, .tail_bytes = 1000, .end_job_over_bytes = 0};
  JobRun kept = Run(std::move(cut));
  ASSERT_TRUE(kept.outcome.status);
  EXPECT_EQ(kept.outcome.status->ShellCode(), 0);
  EXPECT_EQ(kept.out.size(), 2000u);
  EXPECT_EQ(kept.err.size(), 2000u);
  EXPECT_EQ(kept.outcome.out.left_out + 2000, kept.outcome.out.seen);
}

TEST_P(Gluttons, WhatWouldOutliveTheJobEndsWithIt) {  // L16
  JobRun daemons = Run(PlanFor("daemons"));
  ASSERT_TRUE(daemons.outcome.status);
  EXPECT_EQ(daemons.outcome.status->ShellCode(), 7);
  EXPECT_FALSE(daemons.outcome.limit);
  backends::Plan stopped = PlanFor("stopped-children");
  stopped.limits.wall_timeout = milliseconds(500);
  JobRun run = Run(std::move(stopped));
  EXPECT_EQ(run.outcome.kind, Outcome::Kind::kTimedOut);
  ASSERT_TRUE(run.outcome.limit);
  EXPECT_EQ(LimitCode(run.outcome.limit->kind), "limit.wall");
}

TEST_P(Gluttons, EveryLimitSaysWhatHeldIt) {  // L47
  backends::Plan plan = PlanWithMemory();
  plan.limits.cpu_time = milliseconds(60'000);
  plan.limits.disk_bytes = 1024 * kMiB;
  plan.limits.disk_files = 1000;
  plan.limits.output.end_job_over_bytes = kMiB;
  std::vector<backends::HeldLimit> held = HeldBy(std::move(plan));
  EXPECT_EQ(held.size(), 8u);
  for (const backends::HeldLimit& limit : held)
    EXPECT_NE(limit.holder, LimitHolder::kNone) << LimitName(limit.limit.kind);
}

INSTANTIATE_TEST_SUITE_P(Process, Gluttons,
                         testing::Values(On::kThisHost, On::kOnlyCgroupV1, On::kNoCgroups),
                         testing::PrintToStringParamName());

}  // namespace
}  // namespace writ::test
