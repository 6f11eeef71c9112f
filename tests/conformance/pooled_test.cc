// Machines of the microvm tier that are restored ahead of their runs (L31, L33, L35, L37, L38, L41,
// L42).
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <set>
#include <sstream>

#include "conformance/restored_fixture.h"
#include "writ/backends/linux/process_tree.h"
#include "writ/backends/microvm/qemu_command.h"
#include "writ/base/child.h"

namespace writ::test {
namespace {

using std::chrono::seconds;
using testing::IsEmpty;

constexpr seconds kPatience{120};  // emulated machines on a busy host
constexpr char kIdentity[] = "od -An -tx1 -N16 /dev/urandom; cat /proc/sys/kernel/random/uuid";

bool Await(const std::function<bool()>& reached) {
  const auto bound = std::chrono::steady_clock::now() + kPatience;
  while (!reached()) {
    if (std::chrono::steady_clock::now() > bound) return false;
    (void)::poll(nullptr, 0, 20);
  }
  return true;
}

std::vector<pid_t> Monitors(pid_t of) {
  std::vector<pid_t> out;
  for (const TreeMember& member : DescendantsOf(of))
    if (ProgramName(member.pid).starts_with("qemu-system")) out.push_back(member.pid);
  return out;
}

class Pooled : public Restored {
 protected:
  void SetUp() override {
    fs::create_directory(PoolDir());
    fs::permissions(PoolDir(), fs::perms(0711));
    Restored::SetUp();
  }
  std::string PoolDir() const { return snapshots_.dir() + "/pool"; }
  MicrovmBackendOptions Options(unsigned count) const {
    MicrovmBackendOptions options = snapshots_.Options();
    options.pool.count = count;
    options.pool.dir = PoolDir();
    const uid_t first = job_.identity().uid + 8;
    if (::geteuid() != 0) return options;
    options.pool.first_uid = first;
    options.pool.uids = 8;
    options.pool.helper_uid = job_.Shell("true").helper_uid;
    return options;
  }
  WaitingMachines Counts() const { return backend_->Waiting().value(); }
  bool AwaitWaiting(unsigned count) const {
    const bool reached = Await([&] { return Counts().waiting == count; });
    EXPECT_TRUE(reached) << Counts().waiting << " wait: " << Counts().trouble;
    return reached;
  }
  std::vector<std::string> Folders() const {
    std::vector<std::string> out;
    for (const auto& entry : fs::directory_iterator(PoolDir())) out.push_back(entry.path());
    return out;
  }
  // Cgroups of machines that were held, and processes of their uids.
  std::vector<std::string> LeftOfPool() const {
    std::vector<std::string> out = Folders();
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator("/proc")) {
      std::ifstream status(entry.path() / "status");
      for (std::string line; ::geteuid() == 0 && std::getline(status, line);) {
        constexpr std::string_view kUid = "Uid:";
        if (!line.starts_with(kUid)) continue;
        const auto uid = static_cast<uid_t>(std::strtoul(line.c_str() + kUid.size(), nullptr, 10));
        const uid_t first = job_.identity().uid + 8;
        if (uid >= first && uid < first + 8) out.push_back(entry.path());
      }
    }
    for (auto at = fs::recursive_directory_iterator("/sys/fs/cgroup", ignored);
         !ignored && at != fs::recursive_directory_iterator(); at.increment(ignored))
      if (at->path().filename().string().starts_with("writ-pool-")) out.push_back(at->path());
    return out;
  }
};

// The receipt's words come from these: they differ in the way of the start alone.
TEST_F(Pooled, RunTellsAllThatARestoredOneTells) {
  const microvm::SnapshotRecord record =
      Build({"mkdir -p /usr/local/share; echo warm > /usr/local/share/w"});
  ASSERT_FALSE(HasFailure());
  struct Told {
    MachineStart start;
    JobRun run;
    Capabilities with;
    std::string image;
    std::string changed;
  };
  auto once = [this](unsigned count) {
    Use(Options(count));
    if (count > 0) {
      EXPECT_TRUE(AwaitWaiting(count));
    }
    job_.WriteWorkspaceFile("base.txt", "base" + std::string(300'000, ' '));
    Told told;
    RunningJob running(
        *backend_,
        Sized(job_.Shell("cat /usr/local/share/w; cut -c1-4 base.txt; echo changed > base.txt; "
                         "echo bad >&2; exit 3")));
    EXPECT_TRUE(running.started()) << running.started().error().ToString();
    told.start = running.job().StartOfMachine().value();
    told.with = *running.job().PreparedWith();
    told.image = running.job().RootImage();
    told.run = running.Wait();
    told.changed = job_.ReadWorkspaceFile("base.txt");
    EXPECT_TRUE(told.run.dismantled.tree_dead_verified);
    EXPECT_THAT(told.run.dismantled.leaks, IsEmpty());
    EXPECT_THAT(job_.LeftBehind(), IsEmpty());
    return told;
  };
  const Told restored = once(0);
  const Told pooled = once(1);
  EXPECT_FALSE(restored.start.pooled);
  EXPECT_TRUE(pooled.start.pooled);
  EXPECT_EQ(pooled.start.snapshot, record.text());
  EXPECT_EQ(pooled.start.snapshot, restored.start.snapshot);
  EXPECT_EQ(pooled.start.memory, restored.start.memory);
  EXPECT_EQ(pooled.start.not_served, restored.start.not_served);
  EXPECT_EQ(pooled.start.not_restored, "");
  EXPECT_EQ(pooled.with, restored.with);
  EXPECT_EQ(pooled.image, restored.image);
  EXPECT_EQ(pooled.changed, "changed\n");
  EXPECT_EQ(pooled.run.out, "warm\nbase\n");
  EXPECT_EQ(pooled.run.out, restored.run.out);
  EXPECT_EQ(pooled.run.err, restored.run.err);
  for (const Told* told : {&restored, &pooled}) {
    ASSERT_TRUE(told->run.outcome.status) << told->run.outcome.reason;
    EXPECT_EQ(told->run.outcome.kind, Outcome::Kind::kExited);
    EXPECT_EQ(told->run.outcome.status->code, 3);
  }
  ASSERT_EQ(pooled.run.outcome.limits.size(), restored.run.outcome.limits.size());
  for (std::size_t i = 0; i < pooled.run.outcome.limits.size(); ++i) {
    EXPECT_EQ(pooled.run.outcome.limits[i].holder, restored.run.outcome.limits[i].holder);
    EXPECT_EQ(pooled.run.outcome.limits[i].limit.value, restored.run.outcome.limits[i].limit.value);
  }
  // Its machine's, too: what writ-vm alone needs is a fraction of it.
  const Usage& mine = pooled.run.outcome.usage;
  const Usage& theirs = restored.run.outcome.usage;
  ASSERT_EQ(mine.cpu_time.has_value(), theirs.cpu_time.has_value());
  ASSERT_EQ(mine.peak_memory_bytes.has_value(), theirs.peak_memory_bytes.has_value());
  if (mine.cpu_time) {
    EXPECT_GT(*mine.cpu_time * 3, *theirs.cpu_time);
  }
  if (mine.peak_memory_bytes) {
    EXPECT_GT(*mine.peak_memory_bytes * 3, *theirs.peak_memory_bytes);
  }
}

// L33, L35: consumed once, and nobody's before.
TEST_F(Pooled, TwoRunsAtOnceGetTwoMachines) {
  (void)Build();
  ASSERT_FALSE(HasFailure());
  Use(Options(2));
  ASSERT_TRUE(AwaitWaiting(2));
  JobFixture second;
  second.Use(*backend_);
  const std::string script = std::string(kIdentity) + "; echo ready; sleep 600";
  RunningJob one(*backend_, Sized(job_.Shell(script)));
  RunningJob two(*backend_, Sized(second.Shell(script)));
  std::set<std::string> said;
  for (RunningJob* each : {&one, &two}) {
    ASSERT_TRUE(each->started()) << each->started().error().ToString();
    EXPECT_TRUE(each->job().StartOfMachine()->pooled);
    EXPECT_TRUE(each->AwaitOutput("ready"));
  }
  for (RunningJob* each : {&one, &two}) {
    const JobRun& run = each->End();
    EXPECT_TRUE(run.dismantled.tree_dead_verified);
    std::istringstream lines(run.out);
    for (std::string line; std::getline(lines, line) && line != "ready";) said.insert(line);
  }
  EXPECT_EQ(said.size(), 4u) << "two machines have the same bytes or uuid";
  EXPECT_EQ(Counts().hits, 2u);
  EXPECT_EQ(Counts().discarded, 0u);
}

// A miss falls to a restore; the next one hits again.
TEST_F(Pooled, MissFallsToARestore) {
  (void)Build();
  ASSERT_FALSE(HasFailure());
  MicrovmBackendOptions options = Options(1);
  options.pool.memory_bytes = 1;  // L42: none fits
  Use(options);
  ASSERT_TRUE(Await([this] { return !Counts().trouble.empty(); }));
  JobRun run;
  EXPECT_FALSE(Start("echo restored", run).pooled);
  EXPECT_EQ(run.out, "restored\n");
  EXPECT_EQ(Counts().misses, 1u);
  EXPECT_EQ(Counts().waiting, 0u);
  EXPECT_THAT(Counts().trouble, testing::HasSubstr("over the pool's memory"));
}

TEST_F(Pooled, DiscardsWhatIsTooOldForgottenOrOfAnotherSnapshot) {
  (void)Build();
  ASSERT_FALSE(HasFailure());
  Use(Options(1));
  ASSERT_TRUE(AwaitWaiting(1));
  backend_->ForgetWaiting();
  EXPECT_TRUE(Await([this] { return Counts().discarded == 1; }));
  ASSERT_TRUE(AwaitWaiting(1));
  const microvm::SnapshotRecord next = Build({"true"});
  ASSERT_FALSE(HasFailure());
  EXPECT_TRUE(Await([this] { return Counts().discarded == 2; }));
  ASSERT_TRUE(AwaitWaiting(1));
  JobRun run;
  const MachineStart start = Start("echo said", run);
  EXPECT_TRUE(start.pooled);
  EXPECT_EQ(start.snapshot, next.text());
  EXPECT_EQ(run.out, "said\n");

  MicrovmBackendOptions options = Options(1);
  options.pool.max_age = seconds(1);
  Use(options);
  EXPECT_TRUE(Await([this] { return Counts().discarded >= 1; }));
}

// L41: one whose monitor is gone, says what nobody asked, or does not answer, is not handed out.
TEST_F(Pooled, NeverHandsOutOneThatIsNotWhole) {
  (void)Build();
  ASSERT_FALSE(HasFailure());
  auto speak = [](pid_t monitor) {
    const UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, monitor, 0)));
    const UniqueFd theirs(
        static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd.get(), microvm::kQemuControlFd, 0)));
    const std::string word = "{\"return\": {\"status\": \"paused\"}}\n";
    return theirs &&
           ::write(theirs.get(), word.data(), word.size()) == static_cast<ssize_t>(word.size());
  };
  const std::function<bool(pid_t)> harms[] = {
      [](pid_t monitor) { return ::kill(monitor, SIGKILL) == 0; },
      [](pid_t monitor) { return ::kill(monitor, SIGSTOP) == 0; },
      speak,
  };
  for (const auto& harm : harms) {
    Use(Options(1));
    ASSERT_TRUE(AwaitWaiting(1));
    const std::vector<pid_t> monitors = Monitors(::getpid());
    ASSERT_EQ(monitors.size(), 1u);
    if (::geteuid() != 0 && &harm == &harms[2]) continue;
    ASSERT_TRUE(harm(monitors.front()));
    JobRun run;
    EXPECT_FALSE(Start("echo said", run).pooled);
    EXPECT_EQ(run.out, "said\n");
    EXPECT_EQ(Counts().hits, 0u);
    EXPECT_GE(Counts().discarded, 1u);
  }
}

// The end of a monitor is the run's, as that of a restored one.
TEST_F(Pooled, RunWhoseMonitorIsKilledIsLost) {
  (void)Build();
  ASSERT_FALSE(HasFailure());
  Use(Options(1));
  ASSERT_TRUE(AwaitWaiting(1));
  const std::vector<pid_t> monitors = Monitors(::getpid());
  ASSERT_EQ(monitors.size(), 1u);
  RunningJob running(*backend_, Sized(job_.Shell("echo ready; sleep 600")));
  ASSERT_TRUE(running.AwaitOutput("ready"));
  ASSERT_EQ(::kill(monitors.front(), SIGKILL), 0);
  const JobRun& run = running.Wait();
  EXPECT_EQ(run.outcome.kind, Outcome::Kind::kLost);
  EXPECT_FALSE(run.outcome.status);
  EXPECT_TRUE(run.dismantled.tree_dead_verified);
  EXPECT_THAT(job_.LeftBehind(), IsEmpty());
}

// L37, L38: with its runner, be that killed.
TEST_F(Pooled, EndsWithItsRunner) {
  (void)Build();
  ASSERT_FALSE(HasFailure());
  Use(Options(1));
  ASSERT_TRUE(AwaitWaiting(1));
  EXPECT_FALSE(LeftOfPool().empty());
  backend_.reset();
  EXPECT_THAT(LeftOfPool(), IsEmpty());

  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    auto other = MakeMicrovmBackend(Options(1));
    (void)other->Probe();
    for (;;) ::pause();
  }
  EXPECT_TRUE(Await([&] { return !Folders().empty() && Monitors(child).size() == 1; }));
  const std::vector<pid_t> monitors = Monitors(child);
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(Await([this] { return LeftOfPool().size() == Folders().size(); }))
      << LeftOfPool().back();
  // Its folder goes with the next runner's pool.
  Use(Options(1));
  ASSERT_TRUE(AwaitWaiting(1));
  EXPECT_EQ(Folders().size(), 1u);
  backend_.reset();
  EXPECT_THAT(LeftOfPool(), IsEmpty());
}

}  // namespace
}  // namespace writ::test
