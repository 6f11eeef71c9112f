// Limits hold, and what cannot be held is refused.
#include <unistd.h>

#include <chrono>

#include "conformance/conformance_suite.h"

namespace writ::test {
namespace {

using backends::Outcome;
using std::chrono::seconds;

TEST_P(Conformance, HoldsTheNumberOfProcesses) {
  backends::Plan plan =
      job_.Shell("(i=0; while [ $i -lt 60 ]; do sleep 30 & i=$((i+1)); done) 2>err.txt; sleep 30");
  plan.limits.processes = 20;
  plan.limits.wall_timeout = seconds(10);
  JobRun run = Run(std::move(plan));
  EXPECT_EQ(run.outcome.kind, Outcome::Kind::kViolated) << run.outcome.reason;
  ASSERT_TRUE(run.outcome.limit);
  EXPECT_EQ(LimitCode(run.outcome.limit->kind), "limit.processes");
}

TEST_P(Conformance, HoldsFileSizeAndOpenFiles) {
  backends::Plan plan = job_.Shell("ulimit -n; head -c 3000000 /dev/zero > big; stat -c %s big");
  plan.limits.file_bytes = 1000000;
  plan.limits.open_files = 64;
  JobRun run = Run(std::move(plan));
  EXPECT_EQ(run.out, "64\n1000000\n");
}

TEST_P(Conformance, HoldsTheMemoryOfTheWholeJob) {
  if (backend_->Probe().resources.enforcement != backends::Enforcement::kKernel)
    GTEST_SKIP() << "memory of a whole job cannot be limited here: "
                 << backend_->Probe().resources.reason;
  // Two processes of 48 MiB each pass 64 MiB only together.
  backends::Plan plan = job_.Shell(
      "(head -c 50331648 /dev/zero | tail -c 50331648 | wc -c) & head -c 50331648 /dev/zero | tail "
      "-c 50331648 | wc -c; wait");
  plan.limits.memory_bytes = 64u << 20;
  JobRun run = Run(std::move(plan));
  EXPECT_EQ(run.outcome.kind, Outcome::Kind::kViolated) << run.outcome.reason;
  ASSERT_TRUE(run.outcome.limit) << run.outcome.reason << " out: " << run.out;
  EXPECT_EQ(LimitCode(run.outcome.limit->kind), "limit.memory");
  EXPECT_GT(run.outcome.usage.peak_memory_bytes.value_or(0), 32u << 20);
}

TEST_P(Conformance, RefusesWhatItCannotEnforce) {  // L4
  auto expect_unsupported = [this](backends::Plan plan, const char* what) {
    Status checked = backend_->Check(plan);
    ASSERT_FALSE(checked) << what;
    EXPECT_EQ(checked.error().kind, ErrorKind::kUnsupported) << what;
  };
  backends::Plan pty = job_.Shell("true");
  pty.terminal = TerminalSize{};
  if (!backend_->Probe().pty) expect_unsupported(std::move(pty), "pty");
  backends::Plan tier = job_.Shell("true");
  tier.tier = backends::Tier::kMicrovm;
  if (backend_->GetTier() != backends::Tier::kMicrovm) expect_unsupported(std::move(tier), "tier");
  if (::geteuid() != 0) {
    backends::Plan foreign = job_.Shell("true");
    foreign.identity.uid += 1;
    expect_unsupported(std::move(foreign), "foreign uid");
  }
}

// A background child too, that nobody of the job waits for. L47: what was used, or nothing at all.
TEST_P(Conformance, CountsTheCpuTimeOfTheWholeJob) {
  const std::string burn = "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done";
  JobRun run = Sh("(" + burn + ") & " + burn + "; wait");
  ASSERT_EQ(run.outcome.kind, backends::Outcome::Kind::kExited);
  ASSERT_TRUE(run.outcome.usage.cpu_time);
  // Many times what starting it takes, far below what a million steps of a shell take.
  EXPECT_GE(*run.outcome.usage.cpu_time, std::chrono::milliseconds(40));
}

}  // namespace
}  // namespace writ::test
