// What one job holds must not keep the next one, or its own operator, from coming in: where the
// kernel counts by uid or for the whole host.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "conformance/job_fixture.h"
#include "conformance/running_job.h"
#include "support/places.h"

namespace writ::test {
namespace {

class Beside : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (std::string why = WhyNoJobs(GetParam()); !why.empty()) GTEST_SKIP() << why;
    backend_ = MakeBackend(GetParam());
    if (!backend_->Probe().usable) GTEST_SKIP() << backend_->Probe().unusable_reason;
    for (JobFixture* job : {&glutton_, &neighbour_}) job->Use(*backend_);
  }
  std::unique_ptr<backends::Backend> backend_;
  JobFixture glutton_;
  JobFixture neighbour_;  // of the same uid
};

TEST_P(Beside, DescriptorsInFlightKeepNobodyOut) {
  backends::Plan plan =
      glutton_.MakePlan({glutton_.Install("glutton"), "hold-descriptors-in-flight"});
  plan.entries = backends::EntryGrant{"test"};
  RunningJob held(*backend_, std::move(plan));
  ASSERT_TRUE(held.started()) << held.started().error().ToString();
  ASSERT_TRUE(held.AwaitOutput("full"));
  EntryRun entry = Enter(held.job(), ShellEntry("echo in"));
  EXPECT_TRUE(entry.entered) << entry.entered.error().ToString();
  EXPECT_EQ(entry.out, "in\n");
  JobRun next = neighbour_.Run(*backend_, neighbour_.Shell("echo ran"));
  EXPECT_TRUE(next.started) << next.started.error().ToString();
  EXPECT_EQ(next.out, "ran\n") << next.outcome.reason;
  held.End();
}

// L47. What the record counts is not what the job says of itself.
TEST_P(Beside, ConnectionsWithoutASocketAreNotCounted) {
  backends::Plan plan = glutton_.MakePlan({glutton_.Install("glutton"), "pretend-connections"});
  plan.network = backends::ProxiedNetwork{};
  auto job = backend_->Prepare(std::move(plan));
  ASSERT_TRUE(job) << job.error().ToString();
  auto listener = (*job)->TakeProxyListener();
  ASSERT_TRUE(listener);
  const std::string address = (*job)->ProxyAddress();
  backends::Environment late;
  late.vars = {{"PORT", address.substr(address.rfind(':') + 1)}};
  ASSERT_TRUE((*job)->Start(std::move(late)));
  JobRun run;
  Collector sink(run);
  const backends::Outcome outcome = (*job)->Watch(sink, {});
  ASSERT_TRUE(outcome.status) << outcome.reason;
  EXPECT_EQ(outcome.status->ShellCode(), 1);
  EXPECT_EQ(outcome.proxied_total, 0u);
}

INSTANTIATE_TEST_SUITE_P(Tiers, Beside, testing::Values("process", "sandbox", "container"),
                         [](const testing::TestParamInfo<const char*>& tier) {
                           return std::string(tier.param);
                         });

}  // namespace
}  // namespace writ::test
