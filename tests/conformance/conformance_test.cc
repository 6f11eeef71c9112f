// One suite for every backend: what a job sees and how it ends does not depend on the tier.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <future>
#include <set>
#include <thread>

#include "conformance/job_fixture.h"
#include "writ/base/child.h"
#include "writ/base/file.h"

namespace writ::test {
namespace {

using backends::Outcome;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;
using testing::HasSubstr;
using testing::IsEmpty;

// A tree is dead within grace + this (L16). The launcher's own bound is 10 s for processes stuck in
// the kernel.
constexpr seconds kEndBound{5};

class Conformance : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (std::string why = WhyNoJobs(); !why.empty()) GTEST_SKIP() << why;
    backend_ = MakeBackend(GetParam());
  }
  JobRun Run(backends::Plan plan, const backends::WatchOptions& options = {}) {
    JobRun run = job_.Run(*backend_, std::move(plan), options);
    EXPECT_TRUE(run.dismantled.tree_dead_verified);
    EXPECT_THAT(run.dismantled.leaks, IsEmpty());
    EXPECT_THAT(run.dismantled.errors, IsEmpty());
    EXPECT_THAT(job_.LeftBehind(), IsEmpty());
    return run;
  }
  JobRun Sh(const std::string& script) { return Run(job_.Shell(script)); }

  JobFixture job_;
  std::unique_ptr<backends::Backend> backend_;
};

TEST_P(Conformance, TellsTheExitCodeAsItWas) {  // L17
  for (int code : {0, 1, 42, 255}) {
    JobRun run = Sh("exit " + std::to_string(code));
    ASSERT_TRUE(run.started) << run.started.error().ToString();
    EXPECT_EQ(run.outcome.kind, Outcome::Kind::kExited);
    ASSERT_TRUE(run.outcome.status);
    EXPECT_EQ(run.outcome.status->ShellCode(), code);
    EXPECT_GT(run.outcome.duration.count(), 0);
  }
}

TEST_P(Conformance, TellsASignalAsASignal) {
  JobRun run = Sh("kill -SEGV $$");
  EXPECT_EQ(run.outcome.kind, Outcome::Kind::kSignalled);
  ASSERT_TRUE(run.outcome.status);
  EXPECT_EQ(run.outcome.status->signal, SIGSEGV);
  EXPECT_EQ(run.outcome.status->ShellCode(), 128 + SIGSEGV);
}

TEST_P(Conformance, GivesTheShellsCodesForProgramsThatCannotRun) {
  job_.WriteWorkspaceFile("no-interpreter", "#!/nowhere/at/all\n");
  job_.WriteWorkspaceFile("not-a-program", "just text\n");
  for (const auto& [program, code] :
       std::vector<std::pair<std::string, int>>{{"surely-no-such-program", 127},
                                                {"./missing", 127},
                                                {"./no-interpreter", 127},
                                                {"./not-a-program", 126},
                                                {"/etc/passwd", 126},
                                                {"/usr", 126}}) {
    JobRun run = Run(job_.MakePlan({program}));
    EXPECT_TRUE(run.started) << program;
    EXPECT_EQ(run.outcome.kind, Outcome::Kind::kExited) << program;
    ASSERT_TRUE(run.outcome.status) << program;
    EXPECT_EQ(run.outcome.status->code, code) << program << ": " << run.outcome.reason;
    EXPECT_FALSE(run.outcome.reason.empty());
  }
}

TEST_P(Conformance, PassesArgumentsAsTheyAreAndNeverThroughAShell) {  // L2
  JobRun run = Run(job_.MakePlan({"printf", "%s|", "a b", "$(id)", "`x`", ";", "", "\n", "\xff"}));
  EXPECT_EQ(run.out, "a b|$(id)|`x`|;||\n|\xff|");
}

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

TEST_P(Conformance, BuildsTheEnvironmentFromNothing) {  // L20
  ::setenv("WRIT_TEST_LEAK", "leak", 1);
  backends::Plan plan = job_.MakePlan({"env"});
  plan.env.vars = {{"PLAIN", "a=b"}, {"TERM", "xterm"}};
  plan.env.secrets.push_back({"TOKEN", Secret("s3cret")});
  JobRun run = Run(std::move(plan));
  ::unsetenv("WRIT_TEST_LEAK");
  std::istringstream lines(run.out);
  std::set<std::string> found;
  for (std::string line; std::getline(lines, line);) found.insert(line);
  EXPECT_EQ(found,
            (std::set<std::string>{
                "PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + job_.session_dir() + "/home",
                "USER=job", "LOGNAME=job", "LANG=C.UTF-8", "TMPDIR=" + job_.session_dir() + "/tmp",
                "SHELL=/bin/sh", "TERM=xterm", "PLAIN=a=b", "TOKEN=s3cret"}));
}

TEST_P(Conformance, AddsWhatIsKnownLateOnTop) {
  backends::Plan plan = job_.Shell("echo $WHEN $LATE");
  plan.env.vars = {{"WHEN", "early"}};
  auto job = backend_->Prepare(std::move(plan));
  ASSERT_TRUE(job) << job.error().ToString();
  backends::Environment late;
  late.vars = {{"WHEN", "late"}};
  late.secrets.push_back({"LATE", Secret("yes")});
  ASSERT_TRUE((*job)->Start(std::move(late)));
  JobRun run;
  Collector sink(run);
  (*job)->Watch(sink, {});
  EXPECT_EQ(run.out, "late yes\n");
}

TEST_P(Conformance, KeepsSecretsOutOfEveryOtherProcess) {  // L8
  const std::string secret = "unmistakable-value-4711";
  backends::Plan plan = job_.Shell("exec sleep 30");
  plan.env.secrets.push_back({"TOKEN", Secret(secret)});
  auto job = backend_->Prepare(std::move(plan));
  ASSERT_TRUE(job) << job.error().ToString();
  ASSERT_TRUE((*job)->Start({}));
  int seen_elsewhere = 0;
  for (const char* file : {"environ", "cmdline"}) {
    for (pid_t pid = ::getpid(); pid < ::getpid() + 200; ++pid) {
      auto text = ReadFile("/proc/" + std::to_string(pid) + "/" + file, 1 << 20);
      auto status = ReadFile("/proc/" + std::to_string(pid) + "/status", 1 << 20);
      if (!text || !status) continue;
      const bool of_job = status->find("Name:\tsh") != std::string::npos ||
                          status->find("Name:\tsleep") != std::string::npos;
      if (!of_job && text->find(secret) != std::string::npos) ++seen_elsewhere;
    }
  }
  EXPECT_EQ(seen_elsewhere, 0);
  EXPECT_TRUE((*job)->Dismantle().tree_dead_verified);
}

TEST_P(Conformance, StartsInTheNamedDirectoryOfTheWorkspace) {
  ASSERT_EQ(Sh("mkdir -p a/b && pwd").out, job_.workspace() + "\n");
  backends::Plan plan = job_.Shell("pwd");
  plan.cwd = "a/b";
  EXPECT_EQ(Run(std::move(plan)).out, job_.workspace() + "/a/b\n");
}

TEST_P(Conformance, RefusesAWorkingDirectoryThatLeavesTheWorkspace) {
  ASSERT_TRUE(Sh("ln -s /etc link").started);
  for (const char* cwd : {"..", "a/../..", "/etc", "link", "missing"}) {
    backends::Plan plan = job_.Shell("pwd");
    plan.cwd = cwd;
    auto job = backend_->Prepare(std::move(plan));
    ASSERT_FALSE(job) << cwd;
    EXPECT_EQ(job.error().kind, ErrorKind::kInvalid) << cwd;
  }
  EXPECT_THAT(job_.LeftBehind(), IsEmpty());
}

TEST_P(Conformance, GivesAPrivateHomeAndTmp) {
  backends::Plan plan = job_.Shell(
      "cat .config/agent/settings; stat -c '%a %u' $HOME $TMPDIR .secretdir; touch $TMPDIR/x; git "
      "config user.email");
  plan.argv = {"/bin/sh", "-c",
               "cd $HOME && cat .config/agent/settings && stat -c '%a %u' $HOME $TMPDIR .cache && "
               "touch $TMPDIR/x && "
               "git config user.email"};
  plan.home_files = {{".config/agent/settings", "placeholder\n", 0600}};
  plan.home_directories = {".cache"};
  JobRun run = Run(std::move(plan));
  const std::string own = "700 " + std::to_string(job_.identity().uid) + "\n";
  EXPECT_EQ(run.out, "placeholder\n" + own + own + own + "job@writ.invalid\n") << run.err;
}

TEST_P(Conformance, IsNobodyOfImportance) {  // L20
  JobRun run = Sh(
      "id -u; id -g; id -G; umask; grep -E "
      "'^(NoNewPrivs|Seccomp|CapEff|CapPrm|CapInh|CapBnd|CapAmb):' /proc/self/status; ulimit -c");
  const std::string uid = std::to_string(job_.identity().uid);
  const std::string gid = std::to_string(job_.identity().gid);
  EXPECT_THAT(run.out, testing::StartsWith(uid + "\n" + gid + "\n"));
  EXPECT_THAT(run.out, HasSubstr("\n0022\n"));
  EXPECT_THAT(run.out, HasSubstr("CapEff:\t0000000000000000"));
  EXPECT_THAT(run.out, HasSubstr("CapPrm:\t0000000000000000"));
  EXPECT_THAT(run.out, HasSubstr("NoNewPrivs:\t1"));
  EXPECT_THAT(run.out, HasSubstr("Seccomp:\t2"));
  EXPECT_THAT(run.out, testing::EndsWith("\n0\n"));
  if (::geteuid() == 0) {
    EXPECT_THAT(run.out, HasSubstr("CapBnd:\t0000000000000000"));
    EXPECT_THAT(run.out, testing::StartsWith(uid + "\n" + gid + "\n" + gid +
                                             "\n"));  // no supplementary groups
  }
}

TEST_P(Conformance, RefusesRootIdentities) {
  for (auto [uid, gid] : {std::pair{0u, 1u}, {1u, 0u}, {0u, 0u}}) {
    backends::Plan plan = job_.Shell("id");
    plan.identity.uid = uid;
    plan.identity.gid = gid;
    Status checked = backend_->Check(plan);
    ASSERT_FALSE(checked);
    EXPECT_EQ(checked.error().code, "plan.root_identity");
  }
}

TEST_P(Conformance, HasNoDescriptorsButTheThree) {
  JobRun run = Sh("ls /proc/self/fd | tr '\\n' ' '");
  EXPECT_EQ(run.out, "0 1 2 3 ");  // 3 is the directory that ls reads
}

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

TEST_P(Conformance, EndsWholeTreesOnTimeOut) {  // L16
  for (const Stubborn& stubborn : kStubborn) {
    backends::Plan plan = job_.Shell(stubborn.script);
    plan.limits.wall_timeout = milliseconds(400);
    const auto start = steady_clock::now();
    JobRun run = Run(std::move(plan));
    EXPECT_EQ(run.outcome.kind, Outcome::Kind::kTimedOut) << stubborn.name;
    EXPECT_THAT(run.out, HasSubstr("ready")) << stubborn.name;
    EXPECT_LT(steady_clock::now() - start, milliseconds(700) + kEndBound) << stubborn.name;
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
  plan.limits.wall_timeout = milliseconds(300);
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
  EXPECT_LT(steady_clock::now() - start, kEndBound);
}

TEST_P(Conformance, HoldsTheNumberOfProcesses) {
  backends::Plan plan = job_.Shell(
      "i=0; while [ $i -lt 60 ]; do sleep 30 & i=$((i+1)); done 2>err.txt; echo survived");
  plan.limits.processes = 20;
  plan.limits.wall_timeout = seconds(10);
  JobRun run = Run(std::move(plan));
  EXPECT_THAT(run.out + job_.ReadWorkspaceFile("err.txt") + run.err,
              HasSubstr("ork"));  // "Cannot fork"
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
  const bool told = run.outcome.kind == Outcome::Kind::kViolated ||
                    run.outcome.reason.find("memory") != std::string::npos;
  EXPECT_TRUE(told) << run.outcome.reason << " out: " << run.out;
  EXPECT_GT(run.outcome.usage.peak_memory_bytes, 32u << 20);
}

TEST_P(Conformance, RunsEightJobsAtOnceWithoutMixing) {
  std::vector<std::future<bool>> jobs;
  for (int i = 0; i < 8; ++i) {
    jobs.push_back(std::async(std::launch::async, [this, i] {
      JobFixture own;
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

TEST_P(Conformance, RefusesWhatItCannotEnforce) {  // L4
  auto expect_unsupported = [this](backends::Plan plan, const char* what) {
    Status checked = backend_->Check(plan);
    ASSERT_FALSE(checked) << what;
    EXPECT_EQ(checked.error().kind, ErrorKind::kUnsupported) << what;
  };
  backends::Plan pty = job_.Shell("true");
  pty.terminal = backends::Terminal::kPty;
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

// L38, design section 2: a runner that is killed leaves no tree behind, and its end can be read.
TEST_P(Conformance, EndsTheTreeWhenItsRunnerIsKilled) {
  auto pipe = MakePipe();
  ASSERT_TRUE(pipe);
  SpawnOptions options;
  options.path = std::string(WRIT_BIN_DIR) + "/conformance_runner";
  options.argv = {"conformance_runner",
                  job_.workspace(),
                  job_.session_dir(),
                  job_.run_id(),
                  std::to_string(job_.identity().uid),
                  std::to_string(job_.identity().gid),
                  "trap '' TERM; (setsid sh -c 'echo $$; exec sleep 600' &) ; sleep 600"};
  options.fds = {{pipe->write_end.get(), 1}};
  auto runner = Child::Spawn(options);
  ASSERT_TRUE(runner) << runner.error().ToString();
  pipe->write_end.reset();
  char buffer[64] = {};
  ASSERT_GT(::read(pipe->read_end.get(), buffer, sizeof buffer - 1), 0);  // the job runs
  const pid_t hidden = static_cast<pid_t>(std::strtol(buffer, nullptr, 10));
  ASSERT_GT(hidden, 1);
  ASSERT_TRUE(runner->Signal(SIGKILL));
  ASSERT_TRUE(runner->Wait(seconds(10)));

  auto recovered =
      backend_->Recover(job_.run_id(), job_.session_dir(), job_.identity(), seconds(20));
  ASSERT_TRUE(recovered) << recovered.error().ToString();
  ASSERT_TRUE(recovered->outcome);
  EXPECT_EQ(recovered->outcome->kind, Outcome::Kind::kLost);
  EXPECT_TRUE(recovered->dismantled.tree_dead_verified);
  EXPECT_THAT(recovered->dismantled.leaks, IsEmpty());
  EXPECT_NE(::kill(hidden, 0), 0);
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
  if (GetParam() != "process") GTEST_SKIP() << "this tier has another supervisor";
  const bool root = ::geteuid() == 0;
  // Without a uid or a cgroup of its own a hidden grandchild could not be found again.
  const char* script =
      root ? "(setsid sleep 600 &) ; echo $PPID; exec sleep 600" : "echo $PPID; exec sleep 600";
  auto job = backend_->Prepare(job_.Shell(script));
  ASSERT_TRUE(job) << job.error().ToString();
  ASSERT_TRUE((*job)->Start({}));
  class KillSupervisor final : public backends::OutputSink {
   public:
    void OnOutput(backends::Stream, std::string_view bytes, std::chrono::nanoseconds) override {
      const auto pid = static_cast<pid_t>(std::strtol(std::string(bytes).c_str(), nullptr, 10));
      if (pid > 1) ::kill(pid, SIGKILL);  // our own child, not yet reaped
    }
    void OnLeftOut(backends::Stream, std::uint64_t) override {}
  } sink;
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

struct Misbehaviour {
  const char* mode;
  Outcome::Kind kind;
  milliseconds timeout;
};

// Every mode of the mock agent, through the backend: a clear end within a bound, nothing left
// behind.
TEST_P(Conformance, SurvivesEveryMisbehaviourOfTheMockAgent) {
  const std::string agent = job_.Install("writ-mock-agent");
  constexpr milliseconds kShort{1500};
  constexpr milliseconds kLong{60000};
  for (const Misbehaviour& bad : {
           Misbehaviour{"symlink-escape", Outcome::Kind::kExited, kLong},
           {"hard-links", Outcome::Kind::kExited, kLong},
           {"plant-git-config", Outcome::Kind::kExited, kLong},
           {"nested-repository", Outcome::Kind::kExited, kLong},
           {"special-files", Outcome::Kind::kExited, kLong},
           {"huge-sparse", Outcome::Kind::kExited, kLong},
           {"deep-tree", Outcome::Kind::kExited, kLong},
           {"bad-names", Outcome::Kind::kExited, kLong},
           {"closed-directory", Outcome::Kind::kExited, kLong},
           {"read-host-files", Outcome::Kind::kExited, kLong},
           {"secret-in-pieces", Outcome::Kind::kExited, kLong},
           {"fork-bomb", Outcome::Kind::kTimedOut, kShort},
           {"ignore-sigterm", Outcome::Kind::kTimedOut, kShort},
           {"burst-exit", Outcome::Kind::kExited, kLong},
           {"endless-output", Outcome::Kind::kTimedOut, kShort},
           {"double-fork-setsid", Outcome::Kind::kExited, kLong},
           {"hold-stdout", Outcome::Kind::kExited, kLong},
           {"stop-itself", Outcome::Kind::kTimedOut, kShort},
           {"crash", Outcome::Kind::kSignalled, kLong},
           {"ignore-proxy", Outcome::Kind::kExited, kLong},
       }) {
    backends::Plan plan = job_.MakePlan({agent, "--misbehave", bad.mode});
    plan.limits.wall_timeout = bad.timeout;
    plan.limits.processes = 50;
    plan.env.secrets.push_back({"MOCK_SECRET", Secret("0123456789abcdef")});
    JobRun run = Run(std::move(plan));
    EXPECT_EQ(run.outcome.kind, bad.kind)
        << bad.mode << ": " << run.outcome.reason << run.out.substr(0, 200) << run.err;
    if (bad.mode == std::string("read-host-files")) {
      EXPECT_THAT(run.out, HasSubstr("host files opened: 0\n"));
    }
    if (bad.mode == std::string("ignore-proxy")) {  // L25
      EXPECT_EQ(run.out.find("connected"), std::string::npos) << run.out;
      EXPECT_EQ(run.out.find("answered"), std::string::npos) << run.out;
      EXPECT_GE(run.outcome.refused_total, 4u);
    }
    if (bad.mode == std::string("symlink-escape")) {
      EXPECT_THAT(run.out, HasSubstr("write through a link: refused"));
    }
    if (bad.mode == std::string("special-files")) {
      EXPECT_THAT(run.out, HasSubstr("character device: refused"));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, Conformance, testing::Values("process"),
                         [](const auto& tested) { return tested.param; });

}  // namespace
}  // namespace writ::test
