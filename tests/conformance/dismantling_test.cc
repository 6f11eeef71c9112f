// Nothing is left of a job, at whatever point it is given up; jobs do not mix.
#include <future>
#include <string>
#include <vector>

#include "conformance/conformance_suite.h"

namespace writ::test {
namespace {

using backends::Outcome;
using testing::IsEmpty;

TEST_P(Conformance, RunsEightJobsAtOnceWithoutMixing) {
  std::vector<std::future<bool>> jobs;
  for (int i = 0; i < 8; ++i) {
    jobs.push_back(std::async(std::launch::async, [this, i] {
      JobFixture own;
      own.Use(*backend_);
      const std::string mark = "job" + std::to_string(i);
      backends::Plan plan = own.Shell("for n in 1 2 3 4 5; do echo " + mark +
                                      "; sleep 0.02; done; (setsid sleep 600 &)");
      JobRun run = own.Run(*backend_, std::move(plan));
      std::string want;
      for (int n = 0; n < 5; ++n) want += mark + "\n";
      return run.started && run.out == want && run.outcome.kind == Outcome::Kind::kExited &&
             run.dismantled.tree_dead_verified && run.dismantled.leaks.empty() &&
             own.LeftBehind().empty();
    }));
  }
  for (auto& job : jobs) EXPECT_TRUE(job.get());
}

TEST_P(Conformance, RefusesTwoJobsInOneSessionDirectory) {
  auto first = backend_->Prepare(job_.Shell("true"));
  ASSERT_TRUE(first) << first.error().ToString();
  auto second = backend_->Prepare(job_.Shell("true"));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind, ErrorKind::kConflict);
  EXPECT_TRUE((*first)->Dismantle().leaks.empty());
}

TEST_P(Conformance, RemovesWhateverTheJobLeftInItsPrivatePlaces) {  // L14, L37
  JobRun run =
      Sh("cd $HOME; mkdir -p d/e; mkfifo d/p; ln -s / d/l; touch 'd/ new\nline'; chmod 000 d/e d; "
         "cd $TMPDIR; i=0; while [ $i -lt 60 ]; do mkdir x; cd x; i=$((i+1)); done");
  EXPECT_EQ(run.outcome.kind, Outcome::Kind::kExited) << run.err;
}

TEST_P(Conformance, CanBeDismantledAtAnyPoint) {  // L37
  {
    auto prepared = backend_->Prepare(job_.Shell("true"));
    ASSERT_TRUE(prepared);
    backends::Dismantled gone = (*prepared)->Dismantle();
    EXPECT_TRUE(gone.tree_dead_verified);
    EXPECT_THAT(gone.leaks, IsEmpty());
  }
  EXPECT_THAT(job_.LeftBehind(), IsEmpty());
  {
    auto running = backend_->Prepare(job_.Shell("trap '' TERM; (setsid sleep 600 &) ; sleep 600"));
    ASSERT_TRUE(running);
    ASSERT_TRUE((*running)->Start({}));
  }  // destroyed without a word
  EXPECT_THAT(job_.LeftBehind(), IsEmpty());
}

TEST_P(Conformance, GivesTheProxyListenerAwayOnce) {
  backends::Plan plan = job_.Shell("true");
  plan.network = backends::ProxiedNetwork{};
  auto job = backend_->Prepare(std::move(plan));
  ASSERT_TRUE(job) << job.error().ToString();
  EXPECT_THAT((*job)->ProxyAddress(), testing::StartsWith("127.0.0.1:"));
  EXPECT_TRUE((*job)->TakeProxyListener());
  auto again = (*job)->TakeProxyListener();
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().kind, ErrorKind::kConflict);
}

}  // namespace
}  // namespace writ::test
