// Snapshots of QEMU machines, for real: emulated where there is no KVM.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "conformance/snapshot_fixture.h"

namespace writ::test {
namespace {

using testing::HasSubstr;

// The same machine goes on: its agent takes the next host on the channel that it has.
TEST_F(Snapshots, LeaveTheMachineAbleToGoOn) {
  auto vmm = Boot();
  UniqueFd channel = Quiesce(*vmm);
  ASSERT_TRUE(steps_.Await([&](auto done) { vmm->Pause(done); }));
  const std::string directory = folder_.Make("snapshot");
  Status taken = Take(*vmm, directory, AfterSnapshot::kPaused);
  ASSERT_TRUE(taken) << taken.error().ToString();
  const std::string memory = DigestOf(directory + "/memory");
  Status resumed = steps_.Await([&](auto done) { vmm->Resume(done); });
  ASSERT_TRUE(resumed) << resumed.error().ToString();
  GuestJob job(steps_, parts_.tokens, "echo on", folder_.Make("workspace"));
  job.Begin(std::move(channel));
  steps_.Until([&] { return job.done() || !ended_.empty(); });
  EXPECT_EQ(job.run().lost, "");
  EXPECT_EQ(job.run().out, "on\n");
  EXPECT_EQ(DigestOf(directory + "/memory"), memory) << "the snapshot changes with its source";
}

// A machine that was restored with its memory as its own can become the next snapshot.
TEST_F(Snapshots, OfARestoredMachineGiveClones) {
  const std::string first = MakeSnapshot();
  ASSERT_FALSE(HasFailure());
  auto restored = [&](const std::string& directory, MemoryFile::Use use) {
    auto vmm = MakeQemu(steps_.loop());
    Status done = steps_.Await([&](auto told) {
      vmm->Restore(
          parts_.spec, {directory, MemoryFile{use}, AfterRestore::kRunning},
          [this](const MachineEnd& end) { ended_.push_back(end); }, told);
    });
    EXPECT_TRUE(done) << done.error().ToString();
    return vmm;
  };
  auto shared = restored(first, MemoryFile::Use::kCopyOnWrite);
  EXPECT_TRUE(steps_.Await([&](auto done) { shared->Pause(done); }));
  Status refused = Take(*shared, folder_.Make("never"), AfterSnapshot::kPaused);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kUnsupported);
  shared.reset();

  auto own = restored(first, MemoryFile::Use::kOwn);
  UniqueFd kept = Quiesce(*own);
  EXPECT_TRUE(steps_.Await([&](auto done) { own->Pause(done); }));
  const std::string second = folder_.Make("second");
  Status taken = Take(*own, second, AfterSnapshot::kSpent);
  ASSERT_TRUE(taken) << taken.error().ToString();
  own.reset();

  auto clone = restored(second, MemoryFile::Use::kCopyOnWrite);
  GuestJob job(steps_, parts_.tokens, "echo second", folder_.Make("workspace"));
  clone->Connect([&](Result<UniqueFd> channel) { job.Begin(std::move(channel).value()); });
  steps_.Until([&] { return job.done() || !ended_.empty(); });
  EXPECT_EQ(job.run().lost + job.run().out, "second\n");
}

// L36: what is restored from a damaged state is destroyed and reported, not left standing.
TEST_F(Snapshots, ThatAreDamagedLeaveNoMachine) {
  const std::string snapshot = MakeSnapshot();
  ASSERT_FALSE(HasFailure());
  std::ofstream(snapshot + "/state", std::ios::binary | std::ios::in).write("damaged!", 8);
  auto vmm = MakeQemu(steps_.loop());
  std::vector<MachineEnd> ends;
  Status restored = steps_.Await([&](auto done) {
    vmm->Restore(
        parts_.spec, {snapshot, MemoryFile{}, AfterRestore::kRunning},
        [&](const MachineEnd& end) { ends.push_back(end); }, done);
  });
  ASSERT_FALSE(restored);
  steps_.Until([&] { return !ends.empty(); });
  EXPECT_EQ(ends.size(), 1u);
  Status resumed = steps_.Await([&](auto done) { vmm->Resume(done); });
  ASSERT_FALSE(resumed);
  EXPECT_EQ(resumed.error().kind, ErrorKind::kConflict);
}

TEST_F(Snapshots, AreRefusedWhereTheMemoryIsOfAnotherSize) {
  const std::string directory = folder_.Make("snapshot");
  std::ofstream(directory + "/memory") << "short";
  std::ofstream(directory + "/state") << "none";
  auto vmm = MakeQemu(steps_.loop());
  Status restored = steps_.Await([&](auto done) {
    vmm->Restore(
        parts_.spec, {directory, MemoryFile{}, AfterRestore::kPaused}, [](const MachineEnd&) {},
        done);
  });
  ASSERT_FALSE(restored);
  EXPECT_THAT(restored.error().message, HasSubstr("size"));
}

}  // namespace
}  // namespace writ::test
