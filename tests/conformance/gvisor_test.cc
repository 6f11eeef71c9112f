// The container tier on gVisor's kernel: what differs there in the way a job is started, ended and
// held. The whole suite is not run over it: a start takes some hundred milliseconds.
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "conformance/own_conformance.h"

namespace writ::test {
namespace {

using backends::Outcome;
using testing::HasSubstr;

class Gvisor : public OwnConformance {};

TEST_P(Gvisor, StartsAJobWithItsEnvironmentAndBringsItsOutputAndEndBack) {  // L8, L17, L18
  backends::Plan plan = job_.Shell(
      "id -u; echo $TOKEN; touch made && test -O made && id -u; head -c 3000000 /dev/zero | tr "
      "'\\0' x; "
      "exit 7");
  plan.env.secrets.push_back({"TOKEN", Secret("of-this-run")});
  JobRun run = Run(std::move(plan));
  EXPECT_EQ(run.outcome.kind, Outcome::Kind::kExited) << run.outcome.reason << run.err;
  ASSERT_TRUE(run.outcome.status);
  EXPECT_EQ(run.outcome.status->ShellCode(), 7);
  EXPECT_THAT(run.out, testing::StartsWith("1000\nof-this-run\n1000\nxxx"));
  EXPECT_EQ(run.out.size(), std::string("1000\nof-this-run\n1000\n").size() + 3'000'000);
  struct stat st {};
  ASSERT_EQ(::stat((job_.workspace() + "/made").c_str(), &st), 0);
  EXPECT_EQ(st.st_uid, job_.identity().uid);
}

// Signals of the host do not reach into another kernel: the word does.
TEST_P(Gvisor, LetsAJobEndByItselfInTheGraceAndKillsWhatDoesNot) {  // L16
  backends::Plan plan =
      job_.Shell("trap 'echo asked; exit 9' TERM; echo up; while :; do sleep 0.1; done");
  plan.limits.wall_timeout = std::chrono::seconds(10);
  plan.limits.term_grace = std::chrono::seconds(10);
  JobRun run = Run(std::move(plan));
  EXPECT_EQ(run.outcome.kind, Outcome::Kind::kTimedOut);
  EXPECT_THAT(run.out, HasSubstr("up\n"));
  EXPECT_THAT(run.out, HasSubstr("asked\n"));
  plan = job_.Shell("trap '' TERM; (setsid sh -c \"trap '' TERM; sleep 100\" &); sleep 100");
  plan.limits.wall_timeout = std::chrono::seconds(2);
  EXPECT_EQ(Run(std::move(plan)).outcome.kind, Outcome::Kind::kTimedOut);
}

TEST_P(Gvisor, IsAnotherKernelWithNothingOfTheHost) {
  JobRun run =
      Sh("uname -r; echo /opt/*; touch /usr/x /etc/x 2>/dev/null && echo wrote; "
         "grep -E 'Cap(Prm|Eff|Bnd)' /proc/self/status | tr -d '\\n'; echo; "
         "(exec 3<>/dev/tcp/192.0.2.1/80) 2>&1 | grep -c unreachable; touch $HOME/a $TMPDIR/b && "
         "echo own");
  EXPECT_THAT(run.out, testing::StartsWith("4.4.0\n/opt/of-the-image\nCap")) << run.err;
  EXPECT_THAT(run.out, HasSubstr("CapEff:\t0000000000000000"));
  EXPECT_THAT(run.out, HasSubstr("CapBnd:\t0000000000000000"));
  EXPECT_THAT(run.out, testing::EndsWith("\nown\n"));
}

TEST_P(Gvisor, SaysWhatItIsAndWhatItLeavesOpen) {  // L47
  const backends::Capabilities& can = backend_->Probe();
  EXPECT_THAT(can.version, HasSubstr("runsc"));
  EXPECT_THAT(can.syscalls.mechanism, HasSubstr("gVisor"));
  EXPECT_THAT(can.network.reason, HasSubstr("not recorded"));
  EXPECT_THAT(can.notes, testing::Contains(HasSubstr("the proxy's listener is the only one")));
}

INSTANTIATE_TEST_SUITE_P(Backends, Gvisor, testing::Values("container_runsc"),
                         [](const auto& tested) { return tested.param; });

}  // namespace
}  // namespace writ::test
