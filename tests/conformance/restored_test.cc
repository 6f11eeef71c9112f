// Runs of the microvm tier that start from a snapshot, for real: QEMU's, emulated where there is no
// KVM.
//   WRIT_TEST_CLONES   how many clones run at once (default 4, at most 16)
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include "conformance/restored_fixture.h"

namespace writ::test {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

constexpr char kWarm[] = "mkdir -p /usr/local/share; echo warm > /usr/local/share/warmed";

// What was warmed up is there, a change comes out, and the run tells what it was started from.
TEST_F(Restored, RunStartsFromTheSnapshotOfItsImageAndSize) {
  JobRun run;
  MachineStart start = Start("cat /usr/local/share/warmed", run);
  EXPECT_EQ(start.snapshot + start.not_restored, "") << "there is none yet";
  EXPECT_NE(run.outcome.status->code, 0);

  const microvm::SnapshotRecord record = Build({kWarm, "sleep 600 & echo said"});
  ASSERT_FALSE(HasFailure());
  EXPECT_EQ(record.manifest.warm_up.size(), 2u);
  EXPECT_TRUE(snapshots_.store().Verify(record.text()));
  job_.WriteWorkspaceFile("base.txt", "base" + std::string(300'000, ' '));
  start = Start(
      "cat /usr/local/share/warmed; cut -c1-4 base.txt; echo changed > base.txt; "
      "ls /proc | grep -c '^[0-9]'; exit 3",
      run);
  EXPECT_EQ(start.not_restored, "");
  EXPECT_EQ(start.snapshot, record.text());
  EXPECT_THAT(run.out, HasSubstr("warm\nbase\n"));
  ASSERT_TRUE(run.outcome.status) << run.outcome.reason;
  EXPECT_EQ(run.outcome.status->code, 3);
  EXPECT_EQ(job_.ReadWorkspaceFile("base.txt"), "changed\n");
  EXPECT_TRUE(snapshots_.store().Verify(record.text())) << "a clone has written to its snapshot";
  EXPECT_EQ(start.memory == MachineStart::Memory::kServed, PagesCanBeServed());
  EXPECT_EQ(start.not_served.empty(), PagesCanBeServed()) << start.not_served;

  // Another size has no snapshot: it boots, and there is nothing to tell.
  RunningJob other(*backend_, job_.Shell("true"));
  ASSERT_TRUE(other.job().StartOfMachine());
  EXPECT_EQ(other.job().StartOfMachine()->snapshot + other.job().StartOfMachine()->not_restored,
            "");
}

// Begun ones count as whole, and there are no more than the host's.
TEST_F(Restored, MachineHasAProcessorForEachCpuOfItsRun) {
  const unsigned cpus = std::min(std::max(std::thread::hardware_concurrency(), 1u), 2u);
  const std::string said = std::to_string(cpus) + "\n";
  constexpr char kCount[] = "grep -c ^processor /proc/cpuinfo";
  Plan plan = Sized(job_.Shell(kCount));
  plan.limits.cpu_millis = 1500;
  RunningJob cold(*backend_, std::move(plan));
  ASSERT_TRUE(cold.started()) << cold.started().error().ToString();
  EXPECT_EQ(cold.job().StartOfMachine()->snapshot, "");
  EXPECT_EQ(cold.Wait().out, said);

  const microvm::SnapshotRecord record = Build({}, cpus);
  ASSERT_FALSE(HasFailure());
  EXPECT_EQ(record.manifest.fit.cpus, cpus);
  // Both at work at once, on memory that comes as it is touched.
  plan = Sized(job_.Shell(std::string(kCount) +
                          "; for i in 1 2; do (yes | head -c 3000000 | wc -c) & done; wait"));
  plan.limits.cpu_millis = 2000;
  RunningJob restored(*backend_, std::move(plan));
  ASSERT_TRUE(restored.started()) << restored.started().error().ToString();
  EXPECT_EQ(restored.job().StartOfMachine()->snapshot, record.text())
      << restored.job().StartOfMachine()->not_restored;
  EXPECT_EQ(restored.Wait().out, said + "3000000\n3000000\n");

  if (cpus == 1) return;
  JobRun run;
  const MachineStart one = Start(kCount, run);
  EXPECT_EQ(one.snapshot + one.not_restored, "") << "of a machine of another size";
  EXPECT_EQ(run.out, "1\n");
}

// L33, L35: all started from one, beside each other. Host names: Clones.ShareNothing.
TEST_F(Restored, ClonesShareNothing) {
  int count = 4;
  if (const char* asked = std::getenv("WRIT_TEST_CLONES"))
    count = std::clamp(std::atoi(asked), 2, 16);
  const microvm::SnapshotRecord record = Build();
  ASSERT_FALSE(HasFailure());
  constexpr char kScript[] =
      "od -An -tx1 -N16 /dev/urandom; cat /proc/sys/kernel/random/uuid;  "
      "date +%s; echo mine > mine; ls; echo ready; sleep 600";
  struct Clone {
    std::unique_ptr<JobFixture> fixture;
    std::unique_ptr<RunningJob> running;
  };
  std::vector<Clone> clones(static_cast<std::size_t>(count));
  std::vector<std::jthread> starting;
  for (Clone& clone : clones) {
    clone.fixture = std::make_unique<JobFixture>();
    clone.fixture->Use(*backend_);
  }
  for (Clone& clone : clones)
    starting.emplace_back([&clone, this, &kScript] {
      clone.running = std::make_unique<RunningJob>(*backend_, Sized(clone.fixture->Shell(kScript)));
    });
  starting.clear();
  std::set<std::string> random;
  std::set<std::string> uuids;
  // All of them run at the same time.
  for (Clone& clone : clones) {
    ASSERT_TRUE(clone.running->started()) << clone.running->started().error().ToString();
    EXPECT_TRUE(clone.running->AwaitOutput("ready"));
  }
  for (Clone& clone : clones) {
    ASSERT_TRUE(clone.running->job().StartOfMachine());
    EXPECT_EQ(clone.running->job().StartOfMachine()->not_restored, "");
    EXPECT_EQ(clone.running->job().StartOfMachine()->snapshot, record.text());
    EXPECT_EQ(clone.running->job().StartOfMachine()->memory == MachineStart::Memory::kServed,
              PagesCanBeServed());
    const JobRun& run = clone.running->End();
    std::istringstream lines(run.out);
    std::string bytes, uuid, clock, listed;
    std::getline(lines, bytes);
    std::getline(lines, uuid);
    std::getline(lines, clock);
    std::getline(lines, listed);
    EXPECT_EQ(bytes.size(), 48u) << run.out;
    EXPECT_EQ(uuid.size(), 36u) << run.out;
    EXPECT_EQ(listed, "mine") << run.out;
    // Not the time at which the snapshot was made.
    EXPECT_GE(std::strtoll(clock.c_str(), nullptr, 10) * 1000 + 1000,
              record.manifest.created_at.unix_ms)
        << run.out;
    random.insert(bytes);
    uuids.insert(uuid);
    EXPECT_TRUE(run.dismantled.tree_dead_verified);
    EXPECT_THAT(run.dismantled.leaks, IsEmpty());
  }
  EXPECT_EQ(random.size(), clones.size());
  EXPECT_EQ(uuids.size(), clones.size());
  EXPECT_TRUE(snapshots_.store().Verify(record.text())) << "a clone has written to its snapshot";
}

// L30: never used, and the run says so: its image's kernel boots.
TEST_F(Restored, RunBootsAndSaysWhyWhereItsSnapshotIsDamaged) {
  Use(WithoutPages(snapshots_.Options()));
  const microvm::SnapshotRecord record = Build({kWarm});
  ASSERT_FALSE(HasFailure());
  {
    std::fstream memory(FolderOf(record) + "/memory",
                        std::ios::binary | std::ios::in | std::ios::out);
    memory.seekp(1u << 20);
    memory.put('\x55');
  }
  for (const char* code : {"snapshot.part_damaged", "snapshot.damaged"}) {
    JobRun run;
    const MachineStart start = Start("cat /usr/local/share/warmed || echo cold", run);
    EXPECT_EQ(start.snapshot, "");
    EXPECT_THAT(start.not_restored, HasSubstr(code));
    EXPECT_THAT(start.not_served, testing::AnyOf("", HasSubstr("pages.off")));
    EXPECT_EQ(run.out, "cold\n");
  }
}

// The others: in served_test.cc, where the memory is looked at piece by piece.
TEST_F(Restored, RunGetsACopyAndSaysWhyWhereNoPageServerCanBeUsed) {  // L4
  const microvm::SnapshotRecord record = Build({kWarm});
  ASSERT_FALSE(HasFailure());
  struct Lacking {
    const char* code;
    std::function<void(PageOptions&)> change;
  };
  for (const Lacking& lacking : {
           Lacking{"pages.off", [](PageOptions& pages) { pages.program.clear(); }},
           Lacking{"pages.userfaultfd", [](PageOptions& pages) { pages.device = "/dev/null"; }},
           Lacking{"pages.preload", [](PageOptions& pages) { pages.preload += ".gone"; }},
           Lacking{"pages.lost", [](PageOptions& pages) { pages.program = "/bin/false"; }},
       }) {
    if (!PagesCanBeServed() && lacking.code != std::string("pages.off")) continue;
    MicrovmBackendOptions options = snapshots_.Options();
    lacking.change(options.pages);
    Use(std::move(options));
    JobRun run;
    const MachineStart start = Start("cat /usr/local/share/warmed", run);
    EXPECT_EQ(start.snapshot, record.text());
    EXPECT_EQ(start.memory, MachineStart::Memory::kCopied);
    EXPECT_THAT(start.not_served, HasSubstr(lacking.code));
    EXPECT_EQ(run.out, "warm\n");
  }
}

// A restore that the monitor refuses ends in the same way.
TEST_F(Restored, RunBootsAndSaysWhyWhereTheRestoreFails) {
  const microvm::SnapshotRecord record = Build();
  ASSERT_FALSE(HasFailure());
  const std::string machine = snapshots_.dir() + "/machine";
  fs::create_directory(machine);
  std::ofstream(machine + "/state") << "no device state";
  std::ofstream(machine + "/memory").close();
  fs::resize_file(machine + "/memory", record.manifest.fit.memory_bytes);
  UniqueFd from(::open(machine.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const std::string tokens = std::string(64, 'a') + "\n" + std::string(64, 'b') + "\n";
  // Signed and whole: the newest, which is tried.
  auto added = snapshots_.store().Add(
      {from.get(), {"state"}, "memory", Secret(std::string_view(tokens))}, record.manifest, {});
  ASSERT_TRUE(added) << added.error().ToString();
  JobRun run;
  const MachineStart start = Start("echo cold", run);
  EXPECT_EQ(start.snapshot, "");
  EXPECT_THAT(start.not_restored, HasSubstr("the restore failed"));
  EXPECT_EQ(run.out, "cold\n");
}

TEST_F(Restored, NoSnapshotIsMadeWhereAWarmUpCommandFails) {
  auto made = snapshots_.Build({"true", "echo what went wrong >&2; exit 3"}, kJobMemory);
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().ToString(), HasSubstr("warm-up command 2 ended with 3"));
  EXPECT_THAT(made.error().ToString(), HasSubstr("what went wrong"));
  EXPECT_THAT(snapshots_.store().List()->good, IsEmpty());
  EXPECT_EQ(fs::directory_iterator(snapshots_.work_dir()), fs::directory_iterator());
}

}  // namespace
}  // namespace writ::test
