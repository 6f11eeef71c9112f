// What is left of a job whose runner or supervisor was killed.
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "conformance/conformance_suite.h"
#include "writ/base/child.h"
#include "writ/base/file.h"

namespace writ::test {
namespace {

using backends::Outcome;
using std::chrono::seconds;
using testing::IsEmpty;

// Processes of the host with these two arguments.
int ProcessesNamed(const std::string& program, const std::string& argument) {
  int found = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    auto text = ReadFile(entry.path().string() + "/cmdline", 1 << 16);
    if (text && *text == program + std::string(1, '\0') + argument + std::string(1, '\0')) ++found;
  }
  return found;
}

// L38, design section 2: a runner that is killed leaves no tree behind, and its end can be read.
TEST_P(Conformance, EndsTheTreeWhenItsRunnerIsKilled) {
  auto pipe = MakePipe();
  ASSERT_TRUE(pipe);
  const std::string hidden = "600." + std::to_string(::getpid()) + "77";  // found by its name
  SpawnOptions options;
  options.path = std::filesystem::read_symlink("/proc/self/exe");
  options.argv = {
      "conformance",
      "--one-job",
      GetParam(),
      job_.workspace(),
      job_.session_dir(),
      job_.run_id(),
      std::to_string(job_.identity().uid),
      std::to_string(job_.identity().gid),
      "trap '' TERM; (setsid sh -c 'echo runs; exec sleep " + hidden + "' &) ; sleep 600"};
  options.fds = {{pipe->write_end.get(), 1}};
  if (const auto& needed = conformance::FindTested(GetParam()).environment) options.env = needed();
  auto runner = Child::Spawn(options);
  ASSERT_TRUE(runner) << runner.error().ToString();
  pipe->write_end.reset();
  char buffer[64] = {};
  ASSERT_GT(::read(pipe->read_end.get(), buffer, sizeof buffer - 1), 0);  // the job runs
  ASSERT_TRUE(runner->Signal(SIGKILL));
  ASSERT_TRUE(runner->Wait(seconds(10)));

  auto recovered =
      backend_->Recover(job_.run_id(), job_.session_dir(), job_.identity(), seconds(20));
  ASSERT_TRUE(recovered) << recovered.error().ToString();
  ASSERT_TRUE(recovered->outcome);
  EXPECT_EQ(recovered->outcome->kind, Outcome::Kind::kLost);
  EXPECT_TRUE(recovered->dismantled.tree_dead_verified);
  EXPECT_THAT(recovered->dismantled.leaks, IsEmpty());
  EXPECT_EQ(ProcessesNamed("sleep", hidden), 0);
  EXPECT_THAT(job_.LeftBehind(), IsEmpty());
}

TEST_P(Conformance, RecoversASessionThatNeverStarted) {
  auto recovered =
      backend_->Recover(job_.run_id(), job_.session_dir(), job_.identity(), seconds(1));
  ASSERT_TRUE(recovered) << recovered.error().ToString();
  EXPECT_FALSE(recovered->outcome);
  EXPECT_THAT(recovered->dismantled.leaks, IsEmpty());
}

// L17, L37: the supervisor itself is killed. Nothing is invented, and what can be ended is ended.
TEST_P(Conformance, CallsAJobLostWhenItsSupervisorIsKilled) {
  const bool root = ::geteuid() == 0;
  // Without a uid, a cgroup or a pid namespace of its own a hidden grandchild could not be found
  // again.
  const bool hides = root || OwnView();
  auto job = backend_->Prepare(job_.Shell(hides ? "(setsid sleep 600 &) ; echo up; exec sleep 600"
                                                : "echo up; exec sleep 600"));
  ASSERT_TRUE(job) << job.error().ToString();
  ASSERT_TRUE((*job)->Start({}));
  class KillSupervisor final : public backends::OutputSink {
   public:
    explicit KillSupervisor(pid_t pid) : pid_(pid) {}
    void OnOutput(backends::Stream, std::string_view, std::chrono::nanoseconds) override {
      if (pid_ > 1) ::kill(pid_, SIGKILL);  // our own child, not yet reaped
    }
    void OnLeftOut(backends::Stream, std::uint64_t) override {}

   private:
    pid_t pid_;
  } sink(static_cast<pid_t>(std::strtol((*job)->Leftovers().c_str(), nullptr, 10)));
  Outcome outcome = (*job)->Watch(sink, {});
  EXPECT_EQ(outcome.kind, Outcome::Kind::kLost);
  EXPECT_FALSE(outcome.status);
  EXPECT_FALSE(outcome.reason.empty());
  EXPECT_GT(outcome.duration.count(), 0);
  backends::Dismantled dismantled = (*job)->Dismantle();
  if (root && backend_->Probe().resources.enforcement == backends::Enforcement::kKernel) {
    EXPECT_TRUE(dismantled.tree_dead_verified);
  } else if (!root) {
    EXPECT_FALSE(dismantled.tree_dead_verified);  // not known, so not said
  }
  EXPECT_THAT(job_.LeftBehind(), IsEmpty());
}

}  // namespace
}  // namespace writ::test
