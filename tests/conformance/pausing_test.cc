// A job whose machine stands still: what it keeps, what reaches it, and how it ends (L36, L37).
#include <gmock/gmock.h>
#include <poll.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <ctime>
#include <filesystem>

#include "conformance/conformance_suite.h"
#include "writ/backends/linux/process_tree.h"
#include "writ/base/child.h"

namespace writ::test {
namespace {

using backends::Outcome;
using testing::HasSubstr;
using testing::IsEmpty;

class Pausing : public Conformance {
 protected:
  void SetUp() override {
    Conformance::SetUp();
    if (!IsSkipped()) {
      ASSERT_TRUE(backend_->Probe().pause);
    }
  }
  // The monitors among what runs below the job's supervisor; how many heard the signal.
  static int SignalMonitors(const backends::Job& job, int signal) {
    int heard = 0;
    const auto supervisor = static_cast<pid_t>(std::strtol(job.Leftovers().c_str(), nullptr, 10));
    for (const backends::TreeMember& member : backends::DescendantsOf(supervisor))
      if (backends::ProgramName(member.pid).starts_with("qemu") && ::kill(member.pid, signal) == 0)
        ++heard;
    return heard;
  }
  // A job that tells its grace and uses it; far less than all of it, unless the host is busy.
  backends::Plan Careful() {
    backends::Plan plan = Granted(
        "trap 'echo cleaned > cleaned; echo cleaned; exit 3' TERM; echo ready; while :; do sleep "
        "0.1; done");
    plan.limits.term_grace = std::chrono::minutes(2);
    return plan;
  }
};

double HostClock() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

// L36: it holds and hashes memory, writes files, and has something beside it that is open all the
// while.
TEST_P(Pausing, FiveTimesLosesNoFileAndNoByteOfMemory) {
  RunningJob running(
      *backend_,
      Granted("held=$(head -c 1500000 /dev/urandom | base64 -w0); "
              "before=$(printf %s \"$held\" | sha256sum); mkdir files; echo ready; n=0; "
              "while [ ! -e stop ]; do n=$((n+1)); echo $n >> ticks; echo $n > files/$n; "
              "sleep 0.05; done; after=$(printf %s \"$held\" | sha256sum); "
              "[ ${#held} = 2000000 ] && [ ${#before} = 67 ] && [ \"$before\" = \"$after\" ] && "
              "echo memory is whole; "
              "[ \"$(seq $n)\" = \"$(cat ticks)\" ] && [ $(ls files | wc -l) = $n ] && "
              "[ \"$(cd files && cat $(seq $n))\" = \"$(cat ticks)\" ] && echo files are whole"));
  ASSERT_TRUE(running.AwaitOutput("ready"));
  auto entered = running.job().Enter(ShellEntry("echo set; exec cat"));
  ASSERT_TRUE(entered) << entered.error().ToString();
  backends::Entry& echo = **entered;
  std::string out;
  ASSERT_TRUE(AwaitEntryOutput(echo, out, "set"));
  for (int cycle = 0; cycle < 5; ++cycle) {
    Status paused = running.job().Pause();
    ASSERT_TRUE(paused) << paused.error().ToString();
    EXPECT_EQ(running.job().Pause().error().code, "job.paused");
    auto refused = running.job().Enter(ShellEntry("true"));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, "job.paused");
    // What is typed now is answered when it goes on, and not before.
    const std::string word = "word " + std::to_string(cycle) + "\n";
    WriteToEntry(echo.input(), word);
    pollfd early{echo.output(), POLLIN, 0};
    EXPECT_EQ(::poll(&early, 1, 400), 0) << "it does not stand still";
    Status resumed = running.job().Resume();
    ASSERT_TRUE(resumed) << resumed.error().ToString();
    EXPECT_EQ(running.job().Resume().error().code, "job.not_paused");
    ASSERT_TRUE(AwaitEntryOutput(echo, out, word));
  }
  // Over two seconds behind without it.
  constexpr double kBehind = 1.5;
  const double now = HostClock();
  EntryRun clock = Enter(running.job(), ShellEntry("date +%s.%N"));
  EXPECT_GT(std::strtod(clock.out.c_str(), nullptr), now - kBehind);
  EXPECT_LT(std::strtod(clock.out.c_str(), nullptr), HostClock() + kBehind);
  EntryRun stop = Enter(running.job(), ShellEntry("touch stop"));
  ASSERT_TRUE(stop.entered) << stop.entered.error().ToString();
  const JobRun& run = running.Wait();
  EXPECT_EQ(run.outcome.kind, Outcome::Kind::kExited) << run.outcome.reason;
  EXPECT_THAT(run.out, HasSubstr("memory is whole")) << run.err;
  EXPECT_THAT(run.out, HasSubstr("files are whole"));
  EXPECT_TRUE(std::filesystem::exists(job_.workspace() + "/files/1"));
  ExpectClean(running);
}

TEST_P(Pausing, GoesOnForTheGraceOfACancelledJob) {  // L36, L37
  RunningJob running(*backend_, Careful());
  ASSERT_TRUE(running.AwaitOutput("ready"));
  ASSERT_TRUE(running.job().Pause());
  const JobRun& run = running.End();
  EXPECT_EQ(run.outcome.kind, Outcome::Kind::kCancelled) << run.outcome.reason;
  EXPECT_THAT(run.out, HasSubstr("cleaned"));
  EXPECT_EQ(job_.ReadWorkspaceFile("cleaned"), "cleaned\n");
  ExpectClean(running);
}

// The limit is of the wall: it goes on while nothing else does.
TEST_P(Pausing, EndsAJobWhoseTimeRunsOutMeanwhile) {
  backends::Plan plan = Careful();
  plan.limits.wall_timeout = std::chrono::seconds(15);
  RunningJob running(*backend_, std::move(plan));
  ASSERT_TRUE(running.AwaitOutput("ready"));
  ASSERT_TRUE(running.job().Pause());
  const JobRun& run = running.Wait();
  EXPECT_EQ(run.outcome.kind, Outcome::Kind::kTimedOut) << run.outcome.reason;
  EXPECT_THAT(run.out, HasSubstr("cleaned"));
  ExpectClean(running);
}

// A monitor that answers nothing: destroyed, and said.
TEST_P(Pausing, LosesARunWhoseMachineCannotGoOnAndSaysWhy) {  // L36
  RunningJob running(*backend_, Careful());
  ASSERT_TRUE(running.AwaitOutput("ready"));
  ASSERT_TRUE(running.job().Pause());
  ASSERT_GT(SignalMonitors(running.job(), SIGSTOP), 0);
  Status resumed = running.job().Resume();
  EXPECT_FALSE(resumed);
  const JobRun& run = running.Wait();
  EXPECT_EQ(run.outcome.kind, Outcome::Kind::kLost);
  EXPECT_FALSE(run.outcome.status);
  EXPECT_THAT(run.outcome.reason, HasSubstr("could not be resumed"));
  EXPECT_THAT(run.outcome.reason, HasSubstr("destroyed"));
  ExpectClean(running);
}

TEST_P(Pausing, LosesARunWhosePausedMachineEnds) {  // L17
  RunningJob running(*backend_, Careful());
  ASSERT_TRUE(running.AwaitOutput("ready"));
  ASSERT_TRUE(running.job().Pause());
  ASSERT_GT(SignalMonitors(running.job(), SIGKILL), 0);
  const JobRun& run = running.Wait();
  EXPECT_EQ(run.outcome.kind, Outcome::Kind::kLost);
  EXPECT_FALSE(run.outcome.status);
  ExpectClean(running);
}

// L37, L38: the end of a runner is the end of what stands still, too.
TEST_P(Pausing, LeavesNothingWhereItsRunnerIsKilled) {
  auto pipe = MakePipe().value();
  SpawnOptions options;
  options.path = std::filesystem::read_symlink("/proc/self/exe");
  options.argv = {"conformance",
                  "--one-paused-job",
                  GetParam(),
                  job_.workspace(),
                  job_.session_dir(),
                  job_.run_id(),
                  std::to_string(job_.identity().uid),
                  std::to_string(job_.identity().gid),
                  "echo runs; exec sleep 600"};
  options.fds = {{pipe.write_end.get(), 1}};
  if (const auto& needed = conformance::FindTested(GetParam()).environment) options.env = needed();
  Child runner = Child::Spawn(options).value();
  pipe.write_end.reset();
  std::string said;
  for (char piece[4096]; said.find("paused\n") == std::string::npos;) {
    const ssize_t n = ::read(pipe.read_end.get(), piece, sizeof piece);
    ASSERT_GT(n, 0) << said;
    said.append(piece, static_cast<std::size_t>(n));
  }
  const auto at = said.find("leftovers ") + 10;
  ASSERT_TRUE(runner.Signal(SIGKILL));
  ASSERT_TRUE(runner.Wait(std::chrono::seconds(10)));
  auto recovered = backend_->Recover({job_.run_id(), job_.session_dir(), job_.identity(),
                                      said.substr(at, said.find('\n', at) - at)},
                                     std::chrono::seconds(20));
  ASSERT_TRUE(recovered) << recovered.error().ToString();
  ASSERT_TRUE(recovered->outcome);
  EXPECT_EQ(recovered->outcome->kind, Outcome::Kind::kLost);
  EXPECT_TRUE(recovered->dismantled.tree_dead_verified);
  EXPECT_THAT(recovered->dismantled.leaks, IsEmpty());
  EXPECT_THAT(job_.LeftBehind(), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Backends, Pausing, testing::ValuesIn(conformance::TestedNames()),
                         [](const auto& tested) { return tested.param; });

}  // namespace
}  // namespace writ::test
