// Places of a view that lie in memory - HOME and /dev/shm - are held to the run's disk limits, in
// bytes and in files (L4, L16).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "conformance/job_fixture.h"
#include "support/places.h"
#include "writ/backends/sandbox_backend.h"

namespace writ::test {
namespace {

using backends::LimitKind;

class MemoryPlaces : public testing::Test {
 protected:
  void SetUp() override {
    backend_ = backends::MakeSandboxBackend(
        {.launched = {.launcher = writ::test::BinDir() + "/writ-launch"}});
    if (std::string why = WhyNoJobs(); !why.empty()) GTEST_SKIP() << why;
    if (const auto& can = backend_->Probe(); !can.usable) GTEST_SKIP() << can.unusable_reason;
  }
  void ExpectEnded(const char* glutton, LimitKind kind) {
    backends::Plan plan = job_.MakePlan({job_.Install("glutton"), glutton});
    plan.tier = backend_->GetTier();
    plan.limits.wall_timeout = std::chrono::minutes(2);
    if (kind == LimitKind::kDisk) plan.limits.disk_bytes = 50u << 20;
    if (kind == LimitKind::kDiskFiles) plan.limits.disk_files = 3000;
    JobRun run = job_.Run(*backend_, std::move(plan));
    ASSERT_TRUE(run.started) << run.started.error().ToString();
    ASSERT_TRUE(run.outcome.limit) << glutton << ": " << run.outcome.reason << run.err;
    EXPECT_EQ(LimitName(run.outcome.limit->kind), LimitName(kind)) << glutton;
    EXPECT_EQ(run.outcome.kind, backends::Outcome::Kind::kViolated);
    EXPECT_THAT(job_.LeftBehind(), testing::IsEmpty());
  }
  JobFixture job_;
  std::unique_ptr<backends::Backend> backend_;
};

TEST_F(MemoryPlaces, SharedMemoryCountsAsDisk) {
  ExpectEnded("fill-shared-memory", LimitKind::kDisk);
  ExpectEnded("crowd-shared-memory", LimitKind::kDiskFiles);
}

TEST_F(MemoryPlaces, HomeCountsAsDisk) {
  ExpectEnded("fill-home", LimitKind::kDisk);
  ExpectEnded("crowd-home", LimitKind::kDiskFiles);
}

}  // namespace
}  // namespace writ::test
