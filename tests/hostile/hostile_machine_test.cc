// The table's columns of machines. A machine takes seconds to boot, emulated: all attempts are made
// in one, one after the other (attacks/each.h), as its job and, in another one, as root of the
// guest's kernel, held by the machine alone. Each glutton that is to be ended for a limit has its
// own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "conformance/job_fixture.h"
#include "conformance/machine_snapshots.h"
#include "conformance/test_guest_image.h"
#include "conformance/test_image.h"
#include "hostile/host_targets.h"
#include "hostile/table.h"
#include "support/places.h"
#include "writ/backends/image/image_store.h"
#include "writ/backends/microvm/guest_image.h"
#include "writ/backends/microvm/microvm_backend.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/protocol/digest.h"

namespace writ::test {
namespace {

namespace fs = std::filesystem;
using backends::Outcome;
using testing::IsEmpty;
using Kind = Expected::Kind;

constexpr std::uint64_t kMiB = 1u << 20;
constexpr std::uint64_t kMemory = 64 * kMiB;  // of a glutton
constexpr int kSyscallKilled = 128 + 31;      // as a shell says it of SIGSYS
constexpr char kJob[] = "microvm";
constexpr char kRoot[] = "microvm_root";

const Expected& ExpectedIn(const TableRow& row, const std::string& tier) {
  const auto& tiers = TheTable()->tiers;
  return row
      .cells[static_cast<std::size_t>(std::find(tiers.begin(), tiers.end(), tier) - tiers.begin())]
      .with_root;
}

// Those whose end is an exit code, in the order in which they are tried: an outcome keeps its first
// records of refused connections, and other-families alone makes as many.
std::vector<const TableRow*> RowsToTry(const std::string& tier, bool gluttons) {
  std::vector<const TableRow*> rows;
  for (const TableRow& row : TheTable()->rows) {
    const Kind kind = ExpectedIn(row, tier).kind;
    if (IsOfGluttons(row) == gluttons && kind != Kind::kUntried && kind != Kind::kLimited &&
        kind != Kind::kLost)
      rows.push_back(&row);
  }
  std::stable_sort(rows.begin(), rows.end(), [&tier](const TableRow* a, const TableRow* b) {
    const auto place = [&tier](const TableRow& row) {
      if (ExpectedIn(row, tier).kind != Kind::kRecorded) return 2;
      return row.attack == "other-families" ? 1 : 0;
    };
    return place(*a) < place(*b);
  });
  return rows;
}

std::string NamesOf(const std::vector<const TableRow*>& rows) {
  std::string names;
  for (const TableRow* row : rows) names += row->name + "\n";
  return names;
}

// What is not as its cell says, and what has no result; a line each.
std::string WrongOf(const std::vector<const TableRow*>& rows, const std::string& tier,
                    const std::string& told) {
  std::map<std::string, int> codes;
  std::istringstream lines(told);
  std::string name;
  for (int code = 0; lines >> name >> code;) codes[name] = code;
  std::string wrong;
  for (const TableRow* row : rows) {
    const Expected& expected = ExpectedIn(*row, tier);
    const auto ended = codes.find(row->name);
    int wanted = 0;
    if (expected.kind == Kind::kRefused || expected.kind == Kind::kRecorded) wanted = 1;
    if (expected.kind == Kind::kKilled) wanted = kSyscallKilled;
    if (expected.kind == Kind::kLacking) wanted = 2;
    if (ended == codes.end())
      wrong += row->name + " has no result\n";
    else if (ended->second != wanted && !(ended->second == 2 && row->lacking))
      wrong += row->name + " is not " + expected.word + ": it ended with " +
               std::to_string(ended->second) + "\n";
  }
  return wrong;
}

class HostileMachine : public testing::Test {
 protected:
  void Use(backends::MicrovmBackendOptions options) {
    ASSERT_TRUE(TheTable()) << TheTable().error().ToString();
    backend_ = backends::MakeMicrovmBackend(std::move(options));
    if (const auto& can = backend_->Probe(); !can.usable) GTEST_SKIP() << can.unusable_reason;
    job_.Use(*backend_);
  }

  // Nothing of it may arrive at the host, whatever it does in its guest.
  JobRun RunBesideItsTargets(backends::Plan plan) {
    JobRun run;
    const std::string settings = HostTargets::HostSettings();
    const std::string mark = "writ-" + job_.run_id();
    plan.network = backends::ProxiedNetwork{};
    plan.limits.wall_timeout = std::chrono::minutes(9);  // one, where the host is idle
    auto job = backend_->Prepare(std::move(plan));
    EXPECT_TRUE(job) << job.error().ToString();
    if (!job) return run;
    auto proxy = (*job)->TakeProxyListener();
    EXPECT_TRUE(proxy);
    const std::string address = (*job)->ProxyAddress();
    HostTargets targets(job_, std::atoi(address.c_str() + address.rfind(':') + 1));
    backends::Environment late;
    late.vars = targets.Variables();
    for (backends::Variable& v : late.vars)  // no number that a process of the guest's can have
      if (v.name == "VICTIM") v.value = std::to_string(10'000'000 + std::atoi(v.value.c_str()));
    late.vars.push_back({"PATH", "/usr/bin:/bin"});
    late.vars.push_back({"GUARDED", "1"});
    late.vars.push_back({"LEVELS", "1100"});  // of a deep tree
    late.vars.push_back({"TRIES", "200"});    // a call costs ten times as much
    late.vars.push_back({"MARK", mark});
    run.started = (*job)->Start(std::move(late));
    Collector sink(run);
    run.outcome = (*job)->Watch(sink, {});
    run.dismantled = (*job)->Dismantle();
    EXPECT_TRUE(run.outcome.status) << run.outcome.reason << run.out << run.err;
    EXPECT_THAT(targets.Arrived(), IsEmpty());
    EXPECT_THAT(targets.OutsideChanges(), IsEmpty());
    EXPECT_EQ(HostTargets::HostSettings(), settings);
    EXPECT_THAT(HostTargets::ProcessesMarked(mark), IsEmpty());
    return run;
  }
  void ExpectClean(const JobRun& run) {
    EXPECT_TRUE(run.dismantled.tree_dead_verified);
    EXPECT_THAT(run.dismantled.leaks, IsEmpty());
    EXPECT_THAT(run.dismantled.errors, IsEmpty());
    EXPECT_THAT(job_.LeftBehind(), IsEmpty());
  }

  JobFixture job_;
  std::unique_ptr<backends::Backend> backend_;
};

TEST_F(HostileMachine, DoesWhatTheTableSays) {
  ASSERT_NO_FATAL_FAILURE(Use(MachineOptions(TestGuestImages())));
  if (IsSkipped()) return;
  const auto rows = RowsToTry(kJob, false);
  job_.WriteWorkspaceFile("attempts", NamesOf(rows));
  const JobRun run =
      RunBesideItsTargets(job_.MakePlan({job_.Install("hostile"), "--each", "attempts"}));
  EXPECT_EQ(WrongOf(rows, kJob, run.out), "") << run.err;
  // L25: each by its program and address.
  std::vector<std::string> unrecorded;
  std::size_t line = 0;
  for (const TableRow* row : rows) {
    const std::string program = "try-" + std::to_string(++line);
    if (ExpectedIn(*row, kJob).kind == Kind::kRecorded &&
        std::none_of(run.outcome.refused.begin(), run.outcome.refused.end(),
                     [&program](const backends::RefusedConnect& refused) {
                       return refused.program == program && !refused.address.empty();
                     }))
      unrecorded.push_back(row->name);
  }
  EXPECT_THAT(unrecorded, IsEmpty());
  EXPECT_GE(run.outcome.refused_total, run.outcome.refused.size());
  ExpectClean(run);
}

// As a step of a recipe is: root of the guest's kernel, with no seccomp and no namespaces between.
TEST_F(HostileMachine, DoesAsRootOfItsGuestWhatTheTableSays) {
  const MachineSnapshots machines;  // for a store of its own
  backends::MicrovmBackendOptions options = machines.Options();
  options.jobs = backends::MicrovmBackendOptions::Jobs::kSteps;
  ASSERT_NO_FATAL_FAILURE(Use(std::move(options)));
  if (IsSkipped()) return;
  const auto rows = RowsToTry(kRoot, false);
  auto host = backends::image::ImageStore(TestImages()).Hold("host");
  ASSERT_TRUE(host) << host.error().ToString();
  const std::string root = machines.dir() + "/root";
  fs::copy(host->root, root, fs::copy_options::recursive | fs::copy_options::copy_symlinks);
  fs::copy_file(BinDir() + "/hostile", root + "/usr/bin/hostile");
  auto etc = OpenDirectory(root + "/etc");
  ASSERT_TRUE(etc);
  ASSERT_TRUE(WriteFileAtomic(etc->get(), "attempts", NamesOf(rows), 0644));
  const auto store = backends::microvm::GuestStore(machines.dir());
  backends::microvm::GuestBuild build;
  build.root = root;
  build.agent = BinDir() + "/writ-guest-agent";
  build.launcher = BinDir() + "/writ-launch";
  build.version = "test";
  build.name = "default";
  build.root_job = backends::microvm::RootJobConfig{0, 0, "/tmp", {}};
  const auto made = backends::microvm::BuildGuestImage(store, build);
  ASSERT_TRUE(made) << made.error().ToString();
  auto held = store.Hold("default");
  ASSERT_TRUE(held);
  const std::string drive = held->root + "/" + backends::microvm::kRootName;
  const auto digest = [&drive] {
    auto bytes = ReadFile(drive, 4ull << 30);
    return bytes ? protocol::Sha256(*bytes).ToHex() : "unreadable";
  };
  const std::string before = digest();

  const JobRun run = RunBesideItsTargets(job_.MakePlan(
      {"/bin/sh", "-c",
       "hostile --as-root-of-a-guest --each /etc/attempts; id -u >&2; for d in /dev/vda /dev/vdb; "
       "do test -b $d && ! head -c 4096 /dev/zero >$d && echo shut >&2; done; exit 3"}));
  EXPECT_EQ(WrongOf(rows, kRoot, run.out), "") << run.err;
  EXPECT_EQ(run.err.substr(0, 2), "0\n") << run.err;
  EXPECT_THAT(run.err, testing::HasSubstr("shut\n")) << "its drives are not there";
  EXPECT_EQ(digest(), before);
  ExpectClean(run);
}

class GluttonInAMachine : public HostileMachine {
 protected:
  void SetUp() override { ASSERT_NO_FATAL_FAILURE(Use(MachineOptions(TestGuestImages()))); }
  backends::Plan PlanFor(std::vector<std::string> argv) const {
    backends::Plan plan = job_.MakePlan(std::move(argv));
    plan.limits.processes = 50;
    plan.limits.disk_bytes = 16 * kMiB;
    plan.limits.disk_files = 800;
    plan.limits.open_files = 64;
    plan.limits.wall_timeout = std::chrono::minutes(4);
    plan.limits.output = {.head_bytes = 1000, .tail_bytes = 1000, .end_job_over_bytes = 2 * kMiB};
    return plan;
  }
};

TEST_F(GluttonInAMachine, IsRefusedWhatTheTableSays) {
  const auto rows = RowsToTry(kJob, true);
  ASSERT_FALSE(rows.empty());
  std::string script;
  for (const TableRow* row : rows)
    script += std::string(ExpectedIn(*row, kJob).kind == Kind::kOwn ? "JUST_PAST=1 " : "") +
              "./glutton " + row->attack + " >/dev/null 2>&1; echo " + row->name + " $?\n";
  job_.Install("glutton");
  backends::Plan plan = PlanFor({"/bin/sh", "-c", script});
  plan.limits.memory_bytes = kMemory;
  const JobRun run = job_.Run(*backend_, std::move(plan));
  EXPECT_EQ(WrongOf(rows, kJob, run.out), "") << run.outcome.reason << run.err;
  ExpectClean(run);
}

class LimitOfAMachine : public GluttonInAMachine,
                        public testing::WithParamInterface<const TableRow*> {};

TEST_P(LimitOfAMachine, EndsTheJobAsTheTableSays) {
  const std::string limit = ExpectedIn(*GetParam(), kJob).word;
  backends::Plan plan = PlanFor({job_.Install("glutton"), GetParam()->attack});
  // What it writes lies in memory too: only who goes for that has less of it.
  if (limit == "limit.memory") plan.limits.memory_bytes = kMemory;
  if (limit == "limit.cpu") plan.limits.cpu_time = std::chrono::milliseconds(500);
  if (limit == "limit.wall") plan.limits.wall_timeout = std::chrono::milliseconds(700);
  const JobRun run = job_.Run(*backend_, std::move(plan));
  if (limit == "lost") {
    EXPECT_EQ(run.outcome.kind, Outcome::Kind::kLost) << run.outcome.reason;
    EXPECT_FALSE(run.outcome.status);
    return ExpectClean(run);
  }
  ASSERT_TRUE(run.outcome.limit) << run.outcome.reason << run.err.substr(0, 500);
  EXPECT_EQ(LimitCode(run.outcome.limit->kind), limit);
  ExpectClean(run);
}

std::vector<const TableRow*> LimitedRows() {
  std::vector<const TableRow*> rows;
  if (!TheTable()) return rows;
  for (const TableRow& row : TheTable()->rows)
    if (const Kind kind = ExpectedIn(row, kJob).kind; kind == Kind::kLimited || kind == Kind::kLost)
      rows.push_back(&row);
  return rows;
}

INSTANTIATE_TEST_SUITE_P(Table, LimitOfAMachine, testing::ValuesIn(LimitedRows()),
                         [](const auto& tested) {
                           std::string name = tested.param->name;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace writ::test
