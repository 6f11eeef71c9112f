// What a job writes arrives whole, in order and bounded.
#include "conformance/conformance_suite.h"

namespace writ::test {
namespace {

using backends::Outcome;

TEST_P(Conformance, KeepsOutputByteExactAndTheStreamsApart) {  // L18
  JobRun run = Sh("printf 'a\\000\\377b'; printf 'err\\001' >&2");
  EXPECT_EQ(run.out, std::string("a\0\xff"
                                 "b",
                                 4));
  EXPECT_EQ(run.err, "err\x01");
  EXPECT_EQ(run.outcome.out.seen, 4u);
  EXPECT_EQ(run.outcome.err.kept, 4u);
  EXPECT_EQ(run.outcome.out.left_out, 0u);
}

TEST_P(Conformance, MergesStderrIntoStdoutInOrder) {
  backends::Plan plan = job_.Shell("for i in 1 2 3; do echo out$i; echo err$i >&2; done");
  plan.stderr_to = backends::StderrTo::kStdout;
  JobRun run = Run(std::move(plan));
  EXPECT_EQ(run.out, "out1\nerr1\nout2\nerr2\nout3\nerr3\n");
  EXPECT_EQ(run.err, "");
}

TEST_P(Conformance, LosesNothingOfABurstInTheLastInstant) {  // L18
  backends::Plan plan = job_.Shell("head -c 8388608 /dev/zero | tr '\\0' x; printf end");
  plan.limits.output.head_bytes = 16u << 20;
  JobRun run = Run(std::move(plan));
  ASSERT_EQ(run.out.size(), 8388608u + 3);
  EXPECT_EQ(run.out.substr(run.out.size() - 4), "xend");
  EXPECT_EQ(run.outcome.out.left_out, 0u);
}

TEST_P(Conformance, KeepsHeadAndTailOverTheLimitAndCountsTheRest) {  // L18
  backends::Plan plan =
      job_.Shell("printf HEAD; head -c 1000000 /dev/zero | tr '\\0' .; printf TAIL");
  plan.limits.output.head_bytes = 1000;
  plan.limits.output.tail_bytes = 500;
  JobRun run = Run(std::move(plan));
  EXPECT_EQ(run.out.size(), 1500u);
  EXPECT_EQ(run.out.substr(0, 5), "HEAD.");
  EXPECT_EQ(run.out.substr(1495), ".TAIL");
  EXPECT_EQ(run.outcome.out.seen, 1000008u);
  EXPECT_EQ(run.outcome.out.kept, 1500u);
  EXPECT_EQ(run.outcome.out.left_out, 998508u);
  EXPECT_EQ(run.gap_out, 998508u);
  EXPECT_EQ(run.gap_at_out, 1000u);
}

TEST_P(Conformance, EndsAJobThatWritesPastTheHardLimit) {
  backends::Plan plan = job_.Shell("yes");
  plan.limits.output = {.head_bytes = 1000, .tail_bytes = 0, .end_job_over_bytes = 1u << 20};
  JobRun run = Run(std::move(plan));
  EXPECT_EQ(run.outcome.kind, Outcome::Kind::kOutputLimit);
  EXPECT_EQ(run.out.size(), 1000u);
  EXPECT_GT(run.outcome.out.seen, 1u << 20);
}

TEST_P(Conformance, HasStdinAtItsEnd) {
  JobRun run = Sh("cat; readlink /proc/self/fd/0");
  EXPECT_EQ(run.out, "/dev/null\n");
}

}  // namespace
}  // namespace writ::test
