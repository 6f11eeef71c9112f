// What goes wrong with the page server of runs that start from a snapshot, and what it keeps.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <fstream>
#include <iterator>
#include <thread>

#include "conformance/restored_fixture.h"
#include "writ/backends/linux/process_tree.h"

namespace writ::test {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kLeaf = 64 * 1024;
// 4 MiB that nothing in the guest looks at by itself, page by page from the shell: through a pipe
// they would lie in its pages too, which are free again afterwards and what a machine takes first.
constexpr char kKeep[] =
    "mkdir -p /usr/local/share; i=0; while [ $i -lt 1024 ]; do printf 'kept %-4091d' $i; "
    "i=$((i + 1)); done > /usr/local/share/kept";

class Served : public Restored {
 protected:
  void SetUp() override {
    if (!PagesCanBeServed()) GTEST_SKIP() << "/dev/userfaultfd is not open to this user";
    Restored::SetUp();
  }
  // Flips a byte of each leaf that `chosen` takes; how many.
  int FlipLeaves(const microvm::SnapshotRecord& record,
                 const std::function<bool(std::uint64_t, const std::string&)>& chosen) const {
    std::fstream memory(FolderOf(record) + "/memory",
                        std::ios::binary | std::ios::in | std::ios::out);
    int flipped = 0;
    std::string leaf(kLeaf, '\0');
    for (std::uint64_t at = 0;
         memory.seekg(static_cast<std::streamoff>(at)).read(leaf.data(), kLeaf); at += kLeaf) {
      if (!chosen(at, leaf)) continue;
      memory.seekp(static_cast<std::streamoff>(at + 100));
      memory.put(static_cast<char>(leaf[100] ^ 1));
      ++flipped;
    }
    return flipped;
  }
  // The file's alone: every page of it is one of those.
  static bool IsKept(const std::string& leaf) {
    for (std::uint64_t page = 0; page < kLeaf; page += 4096)
      if (leaf.compare(page, 5, "kept ") != 0 || leaf[page + 4095] != ' ') return false;
    return true;
  }
  static std::vector<pid_t> Servers() {
    std::vector<pid_t> out;
    for (const TreeMember& member : DescendantsOf(::getpid()))
      if (ProgramName(member.pid) == "writ-pages") out.push_back(member.pid);
    return out;
  }
};

// A leaf that was changed behind the store's check ends the machine before its guest has a byte of
// it, and the run with it.
TEST_F(Served, DamagedMemoryEndsTheRunBeforeItsJobSeesIt) {
  const microvm::SnapshotRecord record = Build({kKeep});
  ASSERT_FALSE(HasFailure());
  ASSERT_GT(FlipLeaves(record, [](std::uint64_t, const std::string& leaf) { return IsKept(leaf); }),
            0);
  RunningJob running(*backend_,
                     Sized(job_.Shell("echo ready; cat /usr/local/share/kept | wc -l; echo seen")));
  ASSERT_TRUE(running.started()) << running.started().error().ToString();
  EXPECT_EQ(running.job().StartOfMachine()->memory, MachineStart::Memory::kServed);
  const JobRun& run = running.Wait();
  EXPECT_EQ(run.outcome.kind, Outcome::Kind::kLost);
  EXPECT_FALSE(run.outcome.status);
  EXPECT_THAT(run.outcome.reason, HasSubstr("not what its manifest says [pages.leaf]"));
  EXPECT_EQ(run.out, "ready\n");
  EXPECT_TRUE(run.dismantled.tree_dead_verified);
  // The next one: the server says so at once, all of it is compared, and the store remembers.
  for (const char* code : {"snapshot.part_damaged", "snapshot.damaged"}) {
    JobRun next;
    const MachineStart start = Start("echo cold", next);
    EXPECT_EQ(start.snapshot, "");
    EXPECT_THAT(start.not_restored, HasSubstr(code));
    EXPECT_EQ(next.out, "cold\n");
  }
}

// The same of memory that the machine needs to start.
TEST_F(Served, RunBootsAndSaysWhyWhereTheMemoryOfItsStartIsDamaged) {
  const microvm::SnapshotRecord record = Build();
  ASSERT_FALSE(HasFailure());
  constexpr std::uint64_t kKernel = 16u << 20;
  ASSERT_GT(
      FlipLeaves(record, [](std::uint64_t at,
                            const std::string&) { return at >= kKernel && at < 3 * kKernel; }),
      0);
  JobRun run;
  const MachineStart start = Start("echo cold", run);
  EXPECT_EQ(start.snapshot, "");
  EXPECT_THAT(start.not_restored, HasSubstr("not what its manifest says [pages.leaf]"));
  EXPECT_EQ(run.out, "cold\n");
}

// L32: within a bound, with a reason, and no exit.
TEST_F(Served, RunWhosePageServerDiesIsLost) {
  const microvm::SnapshotRecord record = Build();
  ASSERT_FALSE(HasFailure());
  {
    RunningJob running(*backend_, Sized(job_.Shell("echo ready; sleep 600")));
    ASSERT_TRUE(running.AwaitOutput("ready"));
    EXPECT_EQ(snapshots_.store().Remove(record.text()).error().code, "snapshot.in_use");
    const std::vector<pid_t> servers = Servers();
    ASSERT_EQ(servers.size(), 1u);
    ASSERT_EQ(::kill(servers.front(), SIGKILL), 0);
    const JobRun& run = running.Wait();
    EXPECT_EQ(run.outcome.kind, Outcome::Kind::kLost);
    EXPECT_FALSE(run.outcome.status);
    EXPECT_THAT(run.outcome.reason, HasSubstr("the page server is gone [pages.lost]"));
    EXPECT_TRUE(run.dismantled.tree_dead_verified);
    EXPECT_THAT(job_.LeftBehind(), testing::IsEmpty());
  }
  // Another one is started for the next run, which finds the snapshot as it was.
  JobRun run;
  const MachineStart start = Start("echo again", run);
  EXPECT_EQ(start.memory, MachineStart::Memory::kServed);
  EXPECT_EQ(start.not_served + start.not_restored, "");
  EXPECT_EQ(run.out, "again\n");
  EXPECT_EQ(Servers().size(), 1u);
  backend_.reset();
  EXPECT_EQ(Servers().size(), 0u) << "it ends with its runner";
  EXPECT_TRUE(snapshots_.store().Remove(record.text()));
}

// What the first ones touched lies beside the snapshot, for the next runner too.
TEST_F(Served, WorkingSetIsKeptBesideTheSnapshot) {
  const microvm::SnapshotRecord record = Build();
  ASSERT_FALSE(HasFailure());
  EXPECT_FALSE(snapshots_.store().ReadWorkingSet(record));
  for (std::uint64_t recordings : {1u, 2u}) {
    JobRun run;
    EXPECT_EQ(Start("true", run).memory, MachineStart::Memory::kServed);
    backend_.reset();
    const auto set = snapshots_.store().ReadWorkingSet(record);
    ASSERT_TRUE(set);
    EXPECT_EQ(set->recordings(), recordings);
    EXPECT_FALSE(set->pieces().empty());
    Use(snapshots_.Options());
  }
  EXPECT_TRUE(snapshots_.store().Verify(record.text()));
  const std::string folder = FolderOf(record);
  EXPECT_TRUE(fs::exists(folder + "/working-set"));
  EXPECT_TRUE(snapshots_.store().Remove(record.text()));
  EXPECT_FALSE(fs::exists(folder));
}

}  // namespace
}  // namespace writ::test
