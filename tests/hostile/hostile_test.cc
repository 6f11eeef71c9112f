// Every cell of table.txt, measured. The attempt is first run with its guard off - a plain child of
// the same uid on the same host, or what the row says - and has to get through; then as a job,
// where it has to do what the cell says, and nothing may have arrived at the host's services,
// files, processes or settings.
//
// With WRIT_HOST_IN_REACH in the environment (host_in_reach.cc) only the stand-in rows are run, and
// with their guard off against what is in the place of the host's files. With WRIT_WITHOUT
// (without_syscalls.cc) those are run that table.txt says, in the tiers that hold without those
// calls.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "conformance/job_fixture.h"
#include "hostile/host_paths.h"
#include "hostile/host_targets.h"
#include "hostile/table.h"
#include "support/places.h"
#include "writ/backends/linux/pidfd.h"
#include "writ/backends/linux/process_tree.h"
#include "writ/base/child.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::test {
namespace {

using backends::Outcome;
using std::chrono::seconds;
using testing::IsEmpty;
using Kind = Expected::Kind;

constexpr std::uint64_t kMiB = 1u << 20;
constexpr char kLeftBehind[] = "What it leaves behind";

struct Cell {
  const TableRow* row;
  std::size_t tier;
  bool on_overlay = false;  // the job's workspace is of layers
};

const std::string& TierOf(const Cell& cell) {
  return TheTable()->tiers[cell.tier];
}

// Called by gtest where it prints a parameter.
void PrintTo(const Cell& cell, std::ostream* out) {
  *out << cell.row->name << " in " << TierOf(cell) << (cell.on_overlay ? " on an overlay" : "");
}

// Which of the host's files are within everybody's reach: nullptr, none but those that always are.
const char* InReach() {
  return std::getenv("WRIT_HOST_IN_REACH");
}

// Where they are within reach a uid of the job's own keeps it from nothing.
const Expected& ExpectedHere(const TableRow& row, std::size_t tier) {
  static const Expected possible{Kind::kPossible, "possible"};
  const char* set = std::getenv("WRIT_WITHOUT");
  // gVisor's kernel is the same, whatever this host's lacks.
  if (set != nullptr && TheTable()->tiers[tier] != "container_runsc" &&
      std::find(row.possible_without.begin(), row.possible_without.end(), set) !=
          row.possible_without.end())
    return possible;
  const TableCell& cell = row.cells[tier];
  return ::geteuid() == 0 && InReach() == nullptr ? cell.with_root : cell.with_user;
}

bool IsMeasuredHere(const TableRow& row, std::size_t tier) {
  const bool measured = ExpectedHere(row, tier).kind != Kind::kUnmeasured;
  if (InReach() == nullptr) return measured;
  if (row.guard_off != GuardOff::kStandIn) return false;
  const bool process = TheTable()->tiers[tier] == "process";
  return process == (InReach() == std::string("process")) && (process || measured);
}

// The last section of table.txt says which rows those are.
bool IsMeasuredWithout(const Without& set, const TableRow& row, std::size_t tier) {
  const bool named =
      std::find(row.without.begin(), row.without.end(), set.set) != row.without.end();
  const std::string& name = TheTable()->tiers[tier];
  switch (set.cells[tier].kind) {
    case Without::Kind::kHolds:
      return named || (!row.slow && (name == "process" || name == "sandbox"));
    case Without::Kind::kSays:
      return !named && !row.slow && row.landlock_abi == 0 && name == "process";
    case Without::Kind::kRefuses:
      return false;
  }
  return false;
}

// What a job leaves in a workspace, where that can be of layers: what is to be removed is another
// tree then, with the kernel's own marks and folders in it.
bool IsMeasuredOnOverlayToo(const TableRow& row, std::size_t tier) {
  const std::string& name = TheTable()->tiers[tier];
  return row.section == kLeftBehind && (name == "sandbox" || name == "container");
}

std::vector<Cell> CellsToMeasure() {
  std::vector<Cell> cells;
  if (!TheTable()) return cells;  // HostileTable says why
  const char* set = std::getenv("WRIT_WITHOUT");
  const Without* without = set != nullptr ? TheTable()->FindSet(set) : nullptr;
  for (std::size_t tier = 0; tier < TheTable()->tiers.size(); ++tier) {
    if (IsOfMachines(TheTable()->tiers[tier])) continue;  // hostile_machine_test.cc
    for (const TableRow& row : TheTable()->rows) {
      if (!IsMeasuredHere(row, tier)) continue;
      if (set == nullptr || (without != nullptr && IsMeasuredWithout(*without, row, tier)))
        cells.push_back({&row, tier});
      if (set == nullptr && InReach() == nullptr && IsMeasuredOnOverlayToo(row, tier))
        cells.push_back({&row, tier, true});
    }
  }
  return cells;
}

std::string NameOf(const testing::TestParamInfo<Cell>& tested) {
  std::string name = TierOf(tested.param) + "_" + tested.param.row->name +
                     (tested.param.on_overlay ? "_on_an_overlay" : "");
  for (char& c : name) {
    if (c == '-') c = '_';
    if (c == '@') c = '_';
  }
  return name;
}

int LandlockAbiOf(const backends::Capabilities& capabilities) {
  const std::string prefix = "landlock abi ";
  const std::string& mechanism = capabilities.files.mechanism;
  const auto at = mechanism.find(prefix);
  return at != std::string::npos ? std::atoi(mechanism.c_str() + at + prefix.size()) : 0;
}

int PortOf(const std::string& address) {
  return std::atoi(address.c_str() + address.rfind(':') + 1);
}

// Empty where somebody of the host is there already: as good.
UniqueFd ListenAt(int port) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int one = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  at.sin_port = htons(static_cast<std::uint16_t>(port));
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0 ||
      ::listen(fd.get(), 4096) != 0)
    return {};
  return fd;
}

// Takes and closes what comes, so that the listener's queue never fills.
class AcceptAll {
 public:
  explicit AcceptAll(int listener)
      : thread_([listener](const std::stop_token& stop) {
          while (!stop.stop_requested()) {
            pollfd ready{listener, POLLIN, 0};
            if (::poll(&ready, 1, 20) > 0)
              UniqueFd(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
          }
        }) {}

 private:
  std::jthread thread_;
};

class Hostile : public testing::TestWithParam<Cell> {
 protected:
  void SetUp() override {
    const std::string& tier = TierOf(GetParam());
    backend_ = &BackendOf(tier);
    job_.Use(*backend_);
    namespaces_ = backend_->GetTier() != backends::Tier::kProcess;
    const backends::Capabilities& capabilities = backend_->Probe();
    if (!capabilities.usable) GTEST_SKIP() << capabilities.unusable_reason;
    if (capabilities.network.enforcement != backends::Enforcement::kKernel)
      GTEST_SKIP() << "the network is not held by the kernel here: " << capabilities.network.reason;
    if (!namespaces_ && row_.landlock_abi > LandlockAbiOf(capabilities))
      GTEST_SKIP() << "needs Landlock ABI " << row_.landlock_abi;
    if (row_.root_runner && ::geteuid() != 0) GTEST_SKIP() << "needs a runner that is root";
    if (row_.cgroup && capabilities.resources.enforcement != backends::Enforcement::kKernel)
      GTEST_SKIP() << "needs a cgroup: " << capabilities.resources.reason;
    if (GetParam().on_overlay &&
        capabilities.overlay_workspace == backends::OverlayWorkspace::kNone)
      GTEST_SKIP() << "no overlay is mounted here: " << capabilities.no_overlay_reason;
    records_ = capabilities.network.reason.empty();
    const bool attack = IsAttack(row_.attack);
    program_ = attack ? "hostile" : "glutton";
    glutton_ = !attack;
    installed_ = job_.Install(program_);
    // For a job to find in its surroundings, had it those of its runner.
    ::setenv("WRIT_HOSTILE_CANARY", "sings", 1);
  }

  // Probed once per process, not once per cell.
  static backends::Backend& BackendOf(const std::string& tier) {
    static std::map<std::string, std::unique_ptr<backends::Backend>> made;
    std::unique_ptr<backends::Backend>& backend = made[tier];
    if (backend == nullptr) backend = MakeBackend(tier);
    return *backend;
  }

  bool OwnKernel() const { return TierOf(GetParam()) == "container_runsc"; }

  static bool IsAttack(const std::string& name) {
    static const std::string all = "\n" + NamesOf("hostile");  // asked once per process
    return all.find("\n" + name + "\n") != std::string::npos;
  }

  static std::string NamesOf(const std::string& program) {
    auto pipe = MakePipe();
    SpawnOptions options;
    options.path = writ::test::BinDir() + "/" + program;
    options.argv = {program, "--list"};
    options.fds = {{pipe->write_end.get(), 1}};
    auto child = Child::Spawn(options);
    pipe->write_end.reset();
    auto text = ReadAll(pipe->read_end.get(), kMiB);
    return child && text ? *text : std::string();
  }

  // Of a deep tree: more than a process has descriptors, and more than fit into a path. gVisor
  // walks from the top for each.
  std::string Levels() const { return OwnKernel() ? "1100" : "2500"; }

  std::string Mark(char run) const {
    const std::string& base = job_.base();
    return "writ-" + base.substr(base.size() - 6) + run;
  }

  // The attempt with the guard off, in a directory of its own: what it leaves is removed.
  int RunUnguarded(const HostTargets& targets) {
    const std::string place = job_.base() + "/unguarded";
    EXPECT_EQ(::mkdir(place.c_str(), 0755), 0);
    if (::geteuid() == 0) {
      EXPECT_EQ(::chown(place.c_str(), job_.identity().uid, job_.identity().gid), 0);
    }
    SpawnOptions options;
    options.path = job_.workspace() + "/" + program_;
    options.argv = {program_};
    auto say = [&options](std::initializer_list<std::string> words) {
      options.argv.insert(options.argv.end(), words);
    };
    if (::geteuid() == 0)
      say({"--as", std::to_string(job_.identity().uid), std::to_string(job_.identity().gid)});
    if (row_.guard_off == GuardOff::kNamespace) say({"--in-namespace"});
    if (row_.guard_off == GuardOff::kCapability) say({"--keep", std::to_string(row_.capability)});
    say({row_.attack});
    for (const backends::Variable& v : targets.Variables())
      options.env.push_back(v.name + "=" + v.value);
    options.env.push_back("WRIT_HOSTILE_CANARY=sings");
    options.env.push_back("MARK=" + Mark('u'));
    options.env.push_back("TMPDIR=" + place);
    options.env.push_back("JUST_PAST=1");
    options.env.push_back("LEVELS=" + Levels());
    options.env.push_back("TRIES=2000");
    if (row_.guard_off == GuardOff::kStandIn && InReach() == nullptr)
      options.env.push_back("HOST_ROOT=" + job_.base() + "/stand-in");
    options.cwd = place;
    auto pair = MakeSeqpacketPair();
    if (pair) options.fds = {{pair->first.get(), 9}};  // something to inherit
    const std::size_t before = TasksOfTheJobsUser();
    auto child = Child::Spawn(options);
    if (!child) return -1;
    auto status = child->Wait(seconds(60));
    EXPECT_TRUE(Ended(Mark('u')));
    EXPECT_TRUE(WaitedFor(before));
    EXPECT_TRUE(Removed("unguarded"));
    return status && *status ? (*status)->ShellCode() : -1;
  }

  // Those of its supervisor, as root: nobody else's.
  std::size_t TasksOfTheJobsUser() const {
    return ::geteuid() == 0 ? backends::TasksOfUid(job_.identity().uid) : 0;
  }
  // Who is dead and not yet waited for counts against the job's limit of processes too.
  bool WaitedFor(std::size_t before) const {
    const auto bound = std::chrono::steady_clock::now() + seconds(30);
    while (TasksOfTheJobsUser() > before) {
      if (std::chrono::steady_clock::now() > bound) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return true;
  }

  // Ends all that has that mark, what it starts meanwhile too: whatever is left of an attempt
  // counts against the job that comes next. False: something is still there after the bound.
  bool Ended(const std::string& mark) {
    const auto bound = std::chrono::steady_clock::now() + seconds(30);
    for (;;) {
      const std::vector<pid_t> left = HostTargets::ProcessesMarked(mark);
      if (left.empty()) return true;
      if (std::chrono::steady_clock::now() > bound) return false;
      outlived_ = true;
      for (pid_t pid : left) {
        auto outliving = backends::OpenPidfd(pid);
        if (!outliving) continue;
        backends::SignalPidfd(outliving->get(), SIGKILL);
        pollfd gone{outliving->get(), POLLIN, 0};
        ::poll(&gone, 1, 1'000);
        ::waitpid(pid, nullptr, WNOHANG);  // a sibling of the attempt is a child of ours
      }
    }
  }

  static std::vector<std::string> NamesIn(const std::string& folder) {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder))
      names.push_back(entry.path().filename());
    return names;
  }

  bool Removed(const std::string& name) {
    auto base = OpenDirectory(job_.base());
    return base && RemoveTreeBeneath(base->get(), name);
  }

  static bool AnyIsHere(const std::vector<std::string>& paths) {
    return std::any_of(paths.begin(), paths.end(), [](const std::string& path) {
      return ::access(path.c_str(), F_OK) == 0 &&
             !(InReach() != std::string("process") && IsBelowProc(path));
    });
  }

  // Shows that the attempt is one: it gets through where nothing stands in its way.
  void ShowItsGuardOff(HostTargets& targets) {
    if (row_.guard_off == GuardOff::kCapability && ::geteuid() != 0) {
      not_shown_ = "only a runner that is root can keep a capability";
      return;
    }
    const int code = RunUnguarded(targets);
    // A record shows by itself that it was the guard.
    if (code == 1 && InReach() != nullptr && !AnyIsHere(HostPathsOf(row_.attack))) {
      not_shown_ = "this host has none of the files that it goes for";
    } else if (code == 2 && (row_.lacking || expected_.kind == Kind::kRecorded)) {
      if (row_.lacking && expected_.kind != Kind::kRecorded)
        not_shown_ = "this kernel lacks what the attempt needs";
    } else if (std::getenv("WRIT_WITHOUT") != nullptr && (code == 1 || code == 2) &&
               row_.guard_off != GuardOff::kKernel) {
      not_shown_ = "it needs what is taken away";
    } else {
      ASSERT_EQ(code, row_.guard_off == GuardOff::kKernel ? 1 : 0)
          << "the attack shows nothing: it ends without a guard in another way than it should";
    }
    if (row_.attack.starts_with("outlive")) {
      EXPECT_TRUE(outlived_);
    }
    targets.Arrived();
    targets.ResetOutside();
    targets.MakeBystander();
  }

  // Over the folder with the program, as a run's is over a cached checkout.
  backends::WorkspaceMount MakeLayers() const {
    for (const char* name : {"/upper", "/work"}) {
      const std::string layer = job_.base() + name;
      EXPECT_EQ(::mkdir(layer.c_str(), 0755), 0);
      if (::geteuid() == 0) {
        EXPECT_EQ(::chown(layer.c_str(), job_.identity().uid, job_.identity().gid), 0);
      }
    }
    return {job_.workspace(), job_.base() + "/upper", job_.base() + "/work"};
  }

  void SetLimits(backends::Limits& limits) const {
    if (!glutton_) return;
    limits.wall_timeout = std::chrono::minutes(1);
    limits.processes = 50;
    // There is a task of the host's for each of gVisor's threads in each of the job's processes.
    if (OwnKernel() && expected_.word != "limit.processes") limits.processes = 500;
    // What is written there goes through a second kernel, and takes ten times as long.
    limits.disk_bytes = (OwnKernel() ? 16 : 48) * kMiB;
    limits.disk_files = OwnKernel() ? 800 : 3000;
    limits.open_files = 64;
    if (row_.cgroup) limits.memory_bytes = (OwnKernel() ? 256 : 64) * kMiB;
    if (expected_.word == "limit.cpu") limits.cpu_time = std::chrono::milliseconds(500);
    if (expected_.word == "limit.wall") limits.wall_timeout = std::chrono::milliseconds(700);
    limits.output = {.head_bytes = 1000, .tail_bytes = 1000, .end_job_over_bytes = 8 * kMiB};
  }

  void ExpectOutcome(const Outcome& outcome, const JobRun& run) const {
    const std::string said = outcome.reason + run.out.substr(0, 500) + run.err.substr(0, 500);
    switch (expected_.kind) {
      case Kind::kLimited:
        ASSERT_TRUE(outcome.limit) << OutcomeKindName(outcome.kind) << ": " << said;
        EXPECT_EQ(LimitCode(outcome.limit->kind), expected_.word);
        return;
      case Kind::kKilled:
        // A kernel without the call: the attempt says so itself.
        if (row_.lacking && outcome.status && outcome.status->ShellCode() == 2) return;
        EXPECT_EQ(outcome.kind, Outcome::Kind::kViolated) << said;
        return;
      case Kind::kRefused:
      case Kind::kRecorded:
        ASSERT_TRUE(outcome.status) << said;
        EXPECT_EQ(outcome.status->ShellCode(), 1) << said;
        break;
      case Kind::kOwn:
      case Kind::kGone:
        // Before Linux 6.7 an overlay lets nobody have such a name.
        if (GetParam().on_overlay && row_.attack == "leave-overlay-marks" && outcome.status &&
            outcome.status->ShellCode() == 1)
          return;
        [[fallthrough]];
      case Kind::kPossible:
      case Kind::kUntried:  // these three in machines alone
      case Kind::kLacking:
      case Kind::kLost:
      case Kind::kUnmeasured:  // measured within reach alone: the mode is what keeps it out
        ASSERT_TRUE(outcome.status) << said;
        EXPECT_EQ(outcome.status->ShellCode(), 0) << said;
        return;
    }
    if (expected_.kind != Kind::kRecorded || !records_) return;
    ASSERT_FALSE(outcome.refused.empty());  // L25: recorded with program and address
    EXPECT_EQ(outcome.refused.front().program, "hostile");
    EXPECT_FALSE(outcome.refused.front().address.empty());
    EXPECT_GE(outcome.refused_total, outcome.refused.size());
  }

  JobFixture job_;
  const TableRow& row_ = *GetParam().row;
  const Expected& expected_ = ExpectedHere(row_, GetParam().tier);
  std::string program_;
  std::string installed_;
  bool glutton_ = false;
  bool namespaces_ = false;
  bool records_ = true;
  bool outlived_ = false;
  std::string not_shown_;
  backends::Backend* backend_ = nullptr;
};

TEST_P(Hostile, DoesWhatTheTableSays) {
  const std::string settings = HostTargets::HostSettings();
  backends::Plan plan = job_.MakePlan({installed_, row_.attack});
  plan.network = backends::ProxiedNetwork{};
  if (GetParam().on_overlay) plan.workspace = MakeLayers();
  SetLimits(plan.limits);
  if (row_.root_runner) {
    plan.read_only_trees = {job_.base() + "/setuid"};
    ASSERT_EQ(::mkdir((job_.base() + "/setuid").c_str(), 0755), 0);
  }
  auto job = backend_->Prepare(std::move(plan));
  ASSERT_TRUE(job) << job.error().ToString();
  auto proxy = (*job)->TakeProxyListener();
  ASSERT_TRUE(proxy);
  const std::string address = (*job)->ProxyAddress();
  HostTargets targets(job_, PortOf(address));
  const AcceptAll proxy_accepts(proxy->get());
  // Outside, something has to be where the job's proxy is inside.
  const UniqueFd stand_in = namespaces_ ? ListenAt(PortOf(address)) : UniqueFd();
  const AcceptAll stand_in_accepts(stand_in.get());

  // Of gVisor's column it would be the same as of the others: a child of the same host.
  if (!OwnKernel()) ShowItsGuardOff(targets);
  if (HasFatalFailure()) return;

  backends::Environment late;
  late.vars = targets.Variables(row_.at_supervisor ? "parent" : "");
  late.vars.push_back({"GUARDED", "1"});
  late.vars.push_back({"LEVELS", Levels()});
  late.vars.push_back({"TRIES", OwnKernel() ? "200" : "2000"});  // a call costs ten times as much
  if (expected_.kind == Kind::kPossible) late.vars.push_back({"JUST_PAST", "1"});
  late.vars.push_back({"MARK", Mark('j')});
  const Status started = (*job)->Start(std::move(late));
  ASSERT_TRUE(started) << started.error().ToString();
  JobRun run;
  Collector sink(run);
  Outcome outcome = (*job)->Watch(sink, {});
  backends::Dismantled dismantled = (*job)->Dismantle();

  ExpectOutcome(outcome, run);
  EXPECT_THAT(targets.Arrived(), IsEmpty());
  EXPECT_THAT(targets.OutsideChanges(), IsEmpty());
  EXPECT_EQ(HostTargets::HostSettings(), settings);
  EXPECT_TRUE(dismantled.tree_dead_verified);
  EXPECT_THAT(dismantled.leaks, IsEmpty());
  EXPECT_THAT(dismantled.errors, IsEmpty());
  EXPECT_THAT(HostTargets::ProcessesMarked(Mark('j')), IsEmpty());
  if (GetParam().on_overlay) {
    EXPECT_TRUE(Removed("upper"));
    EXPECT_TRUE(Removed("work"));
    EXPECT_THAT(NamesIn(job_.workspace()), testing::ElementsAre(program_)) << "the lower layer";
  }
  EXPECT_TRUE(Removed("workspace"));
  if (!not_shown_.empty() && !HasFailure())
    GTEST_SKIP() << "measured, and not shown with its guard off: " << not_shown_;
}

INSTANTIATE_TEST_SUITE_P(Table, Hostile, testing::ValuesIn(CellsToMeasure()), NameOf);

}  // namespace
}  // namespace writ::test
