// Clones of a snapshot, for real: QEMU's, emulated where there is no KVM; Firecracker's
// and Cloud Hypervisor's where a host has them and KVM that boots a kernel:
//   WRIT_FIRECRACKER, WRIT_CLOUD_HYPERVISOR   programs
//   WRIT_FIRECRACKER_KERNEL, _ROOT            other than the test image's; ROOT is an erofs
//   WRIT_CLOUD_HYPERVISOR_KERNEL, _ROOT       the same
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <time.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <sstream>

#include "conformance/snapshot_fixture.h"

namespace writ::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr char kScript[] =
    "od -An -tx1 -N16 /dev/urandom; cat /proc/sys/kernel/random/uuid; date +%s%N; ls; "
    "cat mine*; echo $$ > left; grep -c . /proc/mounts";

std::uint64_t Now() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

struct Clone {
  std::unique_ptr<Vmm> vmm;
  std::string workspace;
  std::unique_ptr<GuestJob> job;
  std::uint64_t begun = 0;
  std::string failed;
};

class Clones : public Snapshots, public testing::WithParamInterface<Monitor> {
 protected:
  void SetUp() override { Use(GetParam()); }
};

// L33, L35: sixteen at once, each with inputs of its own put behind the placeholder.
TEST_P(Clones, ShareNothing) {
  constexpr int kClones = 16;
  const std::string snapshot = MakeSnapshot();
  ASSERT_FALSE(HasFailure());
  const std::string memory = snapshot + "/" + monitor_.make(steps_.loop())->Parts().memory;
  const std::string before = DigestOf(memory);
  std::vector<Clone> clones(kClones);
  for (int i = 0; i < kClones; ++i) {
    Clone& clone = clones[static_cast<std::size_t>(i)];
    const std::string name = "mine-" + std::to_string(i);
    clone.workspace = folder_.Make("workspace-" + std::to_string(i));
    // Larger than the placeholder: the guest has to hear of the size.
    const std::string inputs =
        MakeInputs(folder_.path(), name, "of " + name + std::string(300'000, ' '));
    clone.vmm = monitor_.make(steps_.loop());
    clone.job = std::make_unique<GuestJob>(steps_, parts_.tokens, kScript, clone.workspace);
    auto fail = [&clone](const char* what, const Status& status) {
      if (!status) clone.failed = what + status.error().ToString();
    };
    auto ended = [&clone](const MachineEnd& end) { clone.failed += end.text; };
    clone.vmm->Restore(SpecOf(name), {snapshot, MemoryFile{}, AfterRestore::kPaused}, ended,
                       [&clone, inputs, fail](Status restored) {
                         fail("restore: ", restored);
                         clone.vmm->PutInputs(inputs, [&clone, fail](Status put) {
                           fail("inputs: ", put);
                           clone.vmm->Resume([&clone, fail](Status resumed) {
                             fail("resume: ", resumed);
                             clone.begun = Now();
                             clone.vmm->Connect([&clone](Result<UniqueFd> channel) {
                               clone.job->Begin(std::move(channel).value());
                             });
                           });
                         });
                       });
  }
  steps_.Until([&] {
    return std::all_of(clones.begin(), clones.end(), [](const Clone& clone) {
      return clone.job->done() || !clone.failed.empty();
    });
  });
  const std::uint64_t end = Now();
  std::set<std::string> random;
  std::set<std::string> uuids;
  std::set<std::string> names;
  std::set<std::string> tokens = {parts_.tokens.host};
  for (int i = 0; i < kClones; ++i) {
    const Clone& clone = clones[static_cast<std::size_t>(i)];
    const GuestRun& run = clone.job->run();
    ASSERT_EQ(clone.failed + run.lost, "") << run.out;
    std::istringstream lines(run.out);
    std::string bytes;
    std::string uuid;
    std::string clock;
    std::string listed;
    std::getline(lines, bytes);
    std::getline(lines, uuid);
    std::getline(lines, clock);
    std::getline(lines, listed);
    ASSERT_EQ(clock.size(), 19u) << run.out;
    EXPECT_EQ(bytes.size(), 48u) << run.out;
    random.insert(bytes);
    uuids.insert(uuid);
    names.insert(clone.job->host_name());
    tokens.insert(clone.job->token());
    constexpr std::uint64_t kMost = 50'000'000;
    EXPECT_GT(std::stoull(clock), clone.begun - kMost) << run.out;
    EXPECT_LT(std::stoull(clock), end + kMost) << run.out;
    const std::string name = "mine-" + std::to_string(i);
    EXPECT_EQ(listed, name);
    EXPECT_THAT(run.out, HasSubstr("of " + name));
    EXPECT_TRUE(fs::exists(clone.workspace + "/left"));
    EXPECT_EQ(std::distance(fs::directory_iterator(clone.workspace), fs::directory_iterator()), 1)
        << "no clone's change is in another's workspace";
  }
  EXPECT_EQ(random.size(), kClones);
  EXPECT_EQ(uuids.size(), kClones);
  EXPECT_EQ(names.size(), kClones);
  EXPECT_EQ(tokens.size(), kClones + 1) << "each has one of its own, and none the source's";
  EXPECT_EQ(DigestOf(memory), before) << "a clone has written to its snapshot";
}

INSTANTIATE_TEST_SUITE_P(Monitors, Clones, testing::Values(kQemu, kFirecracker, kCloudHypervisor),
                         [](const auto& monitor) {
                           std::string name(VmmName(monitor.param.kind));
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace writ::test
