// Whole trees end: on time-out, on cancel, by descriptor, within a bound.
#include <sys/eventfd.h>

#include <chrono>

#include "conformance/conformance_suite.h"

namespace writ::test {
namespace {

using backends::Outcome;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;
using testing::HasSubstr;
using testing::IsEmpty;

struct Stubborn {
  const char* name;
  const char* script;  // prints "ready" once it is set up
};
constexpr Stubborn kStubborn[] = {
    {"plain", "echo ready; sleep 600"},
    {"ignores SIGTERM", "trap '' TERM HUP INT; echo ready; while :; do sleep 1; done"},
    {"stopped", "(sleep 600 & kill -STOP $!); echo ready; kill -STOP $$"},
    {"double fork and setsid",
     "setsid sh -c 'setsid sleep 600 & setsid sleep 601 &' ; echo ready; sleep 602"},
    {"background heirs",
     "for i in 1 2 3 4 5 6 7 8; do (trap '' TERM; sleep 600) & done; echo ready; wait"},
    {"sessions below sessions",
     "setsid sh -c '(setsid sh -c \"trap \\\"\\\" TERM; sleep 600\" &) ; sleep 600' & echo ready; "
     "wait"},
};

TEST_P(Conformance, SaysOfAJobThatCannotBePausedWhatCanBe) {  // L4
  if (backend_->Probe().pause) GTEST_SKIP() << "its jobs can be paused";
  RunningJob running(*backend_, job_.Shell(kIdle));
  ASSERT_TRUE(running.AwaitOutput("ready"));
  for (const Status& refused : {running.job().Pause(), running.job().Resume()}) {
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, ErrorKind::kUnsupported);
    EXPECT_THAT(refused.error().hint, testing::HasSubstr("microvm"));
  }
  ExpectClean(running);
}

TEST_P(Conformance, EndsWholeTreesOnTimeOut) {  // L16
  for (const Stubborn& stubborn : kStubborn) {
    backends::Plan plan = job_.Shell(stubborn.script);
    plan.limits.wall_timeout = FirstWord();
    const auto start = steady_clock::now();
    JobRun run = Run(std::move(plan));
    EXPECT_EQ(run.outcome.kind, Outcome::Kind::kTimedOut) << stubborn.name;
    EXPECT_THAT(run.out, HasSubstr("ready")) << stubborn.name;
    EXPECT_LT(steady_clock::now() - start, FirstWord() + milliseconds(300) + kEndBound + Boot())
        << stubborn.name;
  }
}

TEST_P(Conformance, EndsWholeTreesOnCancel) {  // L16
  for (const Stubborn& stubborn : kStubborn) {
    std::stop_source stop;
    class Trigger final : public backends::OutputSink {
     public:
      explicit Trigger(std::stop_source& stop) : stop_(stop) {}
      void OnOutput(backends::Stream, std::string_view, std::chrono::nanoseconds) override {
        stop_.request_stop();
      }
      void OnLeftOut(backends::Stream, std::uint64_t) override {}

     private:
      std::stop_source& stop_;
    } trigger(stop);
    auto job = backend_->Prepare(job_.Shell(stubborn.script));
    ASSERT_TRUE(job) << job.error().ToString();
    ASSERT_TRUE((*job)->Start({}));
    const auto start = steady_clock::now();
    backends::WatchOptions options;
    options.stop = stop.get_token();
    Outcome outcome = (*job)->Watch(trigger, options);
    EXPECT_EQ(outcome.kind, Outcome::Kind::kCancelled) << stubborn.name;
    EXPECT_LT(steady_clock::now() - start, milliseconds(300) + kEndBound) << stubborn.name;
    EXPECT_TRUE((*job)->Dismantle().tree_dead_verified) << stubborn.name;
    EXPECT_THAT(job_.LeftBehind(), IsEmpty()) << stubborn.name;
  }
}

TEST_P(Conformance, KillsAtOnceWithoutTheGraceAndAlsoDuringIt) {  // L16
  for (const bool cancel_first : {false, true}) {
    std::stop_source stop, kill;
    if (cancel_first) stop.request_stop();
    kill.request_stop();
    backends::Plan plan = job_.Shell("trap '' TERM; while :; do sleep 1; done");
    plan.limits.term_grace = std::chrono::minutes(10);
    backends::WatchOptions options;
    options.stop = stop.get_token();
    options.kill = kill.get_token();
    JobRun run = Run(std::move(plan), options);
    EXPECT_EQ(run.outcome.kind, Outcome::Kind::kCancelled);
    EXPECT_TRUE(run.dismantled.tree_dead_verified);
  }
}

TEST_P(Conformance, CancelsByDescriptorAndByDeadlineToo) {
  UniqueFd event(::eventfd(1, EFD_CLOEXEC));
  backends::WatchOptions by_fd;
  by_fd.cancel_fd = event.get();
  EXPECT_EQ(Run(job_.Shell("sleep 600"), by_fd).outcome.kind, Outcome::Kind::kCancelled);
  backends::WatchOptions by_deadline;
  by_deadline.deadline = steady_clock::now() + milliseconds(100);
  EXPECT_EQ(Run(job_.Shell("sleep 600"), by_deadline).outcome.kind, Outcome::Kind::kTimedOut);
}

TEST_P(Conformance, LetsAJobCleanUpWithinTheGrace) {
  backends::Plan plan =
      job_.Shell("trap 'echo cleaned; exit 3' TERM; echo ready; while :; do sleep 0.05; done");
  plan.limits.wall_timeout = FirstWord();
  plan.limits.term_grace = seconds(10);
  JobRun run = Run(std::move(plan));
  EXPECT_EQ(run.outcome.kind, Outcome::Kind::kTimedOut);
  EXPECT_THAT(run.out, HasSubstr("cleaned"));
  ASSERT_TRUE(run.outcome.status);
  EXPECT_EQ(run.outcome.status->code, 3);
}

TEST_P(Conformance, IsNotHeldUpByAGrandchildThatKeepsThePipe) {
  const auto start = steady_clock::now();
  JobRun run = Sh("(setsid sleep 600 &) ; echo done");
  EXPECT_EQ(run.outcome.kind, Outcome::Kind::kExited);
  EXPECT_EQ(run.out, "done\n");
  EXPECT_LT(steady_clock::now() - start, kEndBound + Boot());
}

}  // namespace
}  // namespace writ::test
