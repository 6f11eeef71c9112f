// What is left of a job whose runner or supervisor was killed.
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "conformance/conformance_suite.h"
#include "writ/base/child.h"
#include "writ/base/file.h"

namespace writ::test {
namespace {

using backends::Outcome;
using std::chrono::seconds;
using testing::IsEmpty;

// Processes of the host with these two arguments.
std::vector<pid_t> PidsNamed(const std::string& program, const std::string& argument) {
  std::vector<pid_t> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    auto text = ReadFile(entry.path().string() + "/cmdline", 1 << 16);
    if (text && *text == program + std::string(1, '\0') + argument + std::string(1, '\0'))
      found.push_back(
          static_cast<pid_t>(std::strtol(entry.path().filename().c_str(), nullptr, 10)));
  }
  return found;
}
int ProcessesNamed(const std::string& program, const std::string& argument) {
  return static_cast<int>(PidsNamed(program, argument).size());
}

// A job with a process that hides from its parent, carried by a runner of its own.
class OtherRunner {
 public:
  OtherRunner(const std::string& backend, const JobFixture& job, const std::string& hide)
      : sleep_("600." + std::to_string(::getpid()) + "77") {
    auto pipe = MakePipe().value();
    SpawnOptions options;
    options.path = std::filesystem::read_symlink("/proc/self/exe");
    options.argv = {"conformance",
                    "--one-job",
                    backend,
                    job.workspace(),
                    job.session_dir(),
                    job.run_id(),
                    std::to_string(job.identity().uid),
                    std::to_string(job.identity().gid),
                    "trap '' TERM; (setsid " + hide + " sh -c 'echo runs; exec sleep " + sleep_ +
                        "' &) ; sleep 600"};
    options.fds = {{pipe.write_end.get(), 1}};
    if (const auto& needed = conformance::FindTested(backend).environment) options.env = needed();
    process_ = Child::Spawn(options).value();
    pipe.write_end.reset();
    std::string said;
    char piece[4096];
    while (said.find("runs\n") == std::string::npos) {
      const ssize_t n = ::read(pipe.read_end.get(), piece, sizeof piece);
      if (n <= 0) return;
      said.append(piece, static_cast<std::size_t>(n));
    }
    runs_ = true;
    const auto at = said.find("leftovers ") + 10;
    leftovers_ = said.substr(at, said.find('\n', at) - at);
  }
  bool runs() const { return runs_; }
  const std::string& leftovers() const { return leftovers_; }
  int Hidden() const { return ProcessesNamed("sleep", sleep_); }
  void EndHidden() const {
    for (pid_t pid : PidsNamed("sleep", sleep_)) ::kill(pid, SIGKILL);  // the name is this test's
  }
  void Kill() {
    ASSERT_TRUE(process_.Signal(SIGKILL));
    ASSERT_TRUE(process_.Wait(seconds(10)));
  }
  // Neither sees the other go.
  void KillWithItsSupervisor() {
    ASSERT_TRUE(process_.Signal(SIGSTOP));
    const auto supervisor = static_cast<pid_t>(std::strtol(leftovers_.c_str(), nullptr, 10));
    ASSERT_GT(supervisor, 1);
    ASSERT_EQ(::kill(supervisor, SIGKILL), 0);  // held by its parent, which does not wait for it
    Kill();
  }

 private:
  std::string sleep_, leftovers_;
  bool runs_ = false;
  Child process_;
};

// L38, design section 2: a runner that is killed leaves no tree behind, and its end can be read.
TEST_P(Conformance, EndsTheTreeWhenItsRunnerIsKilled) {
  OtherRunner runner(GetParam(), job_, "");
  ASSERT_TRUE(runner.runs());
  runner.Kill();
  auto recovered = backend_->Recover(
      {job_.run_id(), job_.session_dir(), job_.identity(), runner.leftovers()}, seconds(20));
  ASSERT_TRUE(recovered) << recovered.error().ToString();
  ASSERT_TRUE(recovered->outcome);
  EXPECT_EQ(recovered->outcome->kind, Outcome::Kind::kLost);
  EXPECT_TRUE(recovered->dismantled.tree_dead_verified);
  EXPECT_THAT(recovered->dismantled.leaks, IsEmpty());
  EXPECT_EQ(runner.Hidden(), 0);
  EXPECT_THAT(job_.LeftBehind(), IsEmpty());
}

// L37, L38: whoever wrote nothing down any more has not ended its tree. It is looked for.
TEST_P(Conformance, EndsTheTreeWhenItsRunnerAndItsSupervisorAreKilled) {
  OtherRunner runner(GetParam(), job_, "");
  ASSERT_TRUE(runner.runs());
  runner.KillWithItsSupervisor();
  auto recovered = backend_->Recover(
      {job_.run_id(), job_.session_dir(), job_.identity(), runner.leftovers()}, seconds(20));
  ASSERT_TRUE(recovered) << recovered.error().ToString();
  EXPECT_FALSE(recovered->outcome);
  EXPECT_TRUE(recovered->dismantled.tree_dead_verified);
  EXPECT_THAT(recovered->dismantled.leaks, IsEmpty());
  EXPECT_EQ(runner.Hidden(), 0);
  EXPECT_THAT(job_.LeftBehind(), IsEmpty());
}

// L37, L47: a process that shows nothing of its run is ended where the kernel knows whose it is,
// and is named as left where nobody does. It is never called dead while it lives.
TEST_P(Conformance, NeverCallsATreeDeadThatHidWhoseItIs) {
  OtherRunner runner(GetParam(), job_, "env -i PATH=/usr/bin:/bin");
  ASSERT_TRUE(runner.runs());
  runner.KillWithItsSupervisor();
  const backends::LeftJob left{job_.run_id(), job_.session_dir(), job_.identity(),
                               runner.leftovers()};
  auto recovered = backend_->Recover(left, seconds(20));
  ASSERT_TRUE(recovered) << recovered.error().ToString();
  const bool lives = runner.Hidden() > 0;
  EXPECT_EQ(recovered->dismantled.tree_dead_verified, !lives);
  EXPECT_EQ(recovered->dismantled.leaks.empty(), !lives);
  if (::geteuid() == 0 || OwnView()) {
    EXPECT_FALSE(lives);
  }
  // Once it is gone, the next look says so.
  runner.EndHidden();
  auto again = backend_->Recover(left, seconds(20));
  ASSERT_TRUE(again) << again.error().ToString();
  EXPECT_TRUE(again->dismantled.tree_dead_verified);
  EXPECT_THAT(again->dismantled.leaks, IsEmpty());
  EXPECT_THAT(job_.LeftBehind(), IsEmpty());
}

TEST_P(Conformance, RecoversASessionThatNeverStarted) {
  auto recovered =
      backend_->Recover({job_.run_id(), job_.session_dir(), job_.identity(), ""}, seconds(1));
  ASSERT_TRUE(recovered) << recovered.error().ToString();
  EXPECT_FALSE(recovered->outcome);
  EXPECT_THAT(recovered->dismantled.leaks, IsEmpty());
}

// L17, L37: the supervisor itself is killed. Nothing is invented, and what can be ended is ended.
TEST_P(Conformance, CallsAJobLostWhenItsSupervisorIsKilled) {
  auto job = backend_->Prepare(job_.Shell("(setsid sleep 600 &) ; echo up; exec sleep 600"));
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
  EXPECT_TRUE(dismantled.tree_dead_verified);  // looked for and ended, not believed
  EXPECT_THAT(dismantled.leaks, IsEmpty());
  EXPECT_THAT(job_.LeftBehind(), IsEmpty());
}

}  // namespace
}  // namespace writ::test
