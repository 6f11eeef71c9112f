#include <gmock/gmock.h>

#include "unit/backends/microvm/api_vmm_fixture.h"

namespace writ::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const ApiMonitor kCloudHypervisor{
    "cloud-hypervisor", {53, 0, 0}, MakeCloudHypervisor, "vmm-api/cloud-hypervisor-v53.0.yaml"};

class CloudHypervisorVmm : public ApiVmms {
 protected:
  CloudHypervisorVmm() : ApiVmms(kCloudHypervisor) {}
};

TEST_F(CloudHypervisorVmm, BootsAndIsSnapshotted) {
  ASSERT_EQ(Boot(), "done");
  EXPECT_THAT(Lines(),
              ElementsAre("GET /api/v1/vmm.ping", "PUT /api/v1/vm.create", "PUT /api/v1/vm.boot"));
  EXPECT_EQ(Echo(), "first and more");
  EXPECT_EQ(Pause(), "done");
  EXPECT_EQ(Snapshot(), "done");
  for (const std::string& part : vmm_->Parts().state)
    EXPECT_TRUE(fs::exists(spec_.place + "/snapshot/" + part)) << part;
  EXPECT_TRUE(fs::exists(spec_.place + "/snapshot/" + vmm_->Parts().memory));
  EXPECT_THAT(Snapshot(SnapshotKind::kDifferential), HasSubstr("full snapshots alone"));
  EXPECT_EQ(Resume(), "done");
}

TEST_F(CloudHypervisorVmm, IsRestoredOnDemandWithInputsOfItsOwn) {
  ASSERT_EQ(Restore(MemoryFile{}, AfterRestore::kPaused), "done");
  EXPECT_EQ(Requests()[1].body.FindString("memory_restore_mode"), "OnDemand");
  EXPECT_EQ(PutInputs(), "done");
  EXPECT_THAT(PutInputs(), HasSubstr("no other file"));
  EXPECT_EQ(PutBase(), "done") << "a drive of its own";
  EXPECT_THAT(PutBase(), HasSubstr("no other file"));
  EXPECT_EQ(Resume(), "done");
  EXPECT_EQ(Echo(), "first and more");
}

TEST_F(CloudHypervisorVmm, HandsItsMemoryToNoPageServer) {
  EXPECT_THAT(Restore(PageServer{"/none", ""}, AfterRestore::kPaused), HasSubstr("page server"));
  EXPECT_TRUE(Requests().empty());
}

// It would boot the guest anew, in the same process.
TEST_F(CloudHypervisorVmm, EndsWhereItsGuestRestarts) {
  Behave("resets");
  (void)Boot();
  Until([this] { return !ends_.empty(); });
  EXPECT_EQ(ends_[0].kind, MachineEnd::Kind::kPoweredOff);
  EXPECT_THAT(ends_[0].text, HasSubstr("rebooting"));
  ends_.clear();
  Behave("panic");
  for (const char* name : {"/api.sock", "/agent.sock"}) fs::remove(spec_.place + name);
  vmm_ = monitor_.make(loop_);
  (void)Boot();
  Until([this] { return !ends_.empty(); });
  EXPECT_EQ(ends_[0].kind, MachineEnd::Kind::kPanicked) << ends_[0].text;
}

TEST_F(CloudHypervisorVmm, EndsWhereItsEventsAreNone) {
  Behave("noise");
  (void)Boot();
  Until([this] { return !ends_.empty(); });
  EXPECT_EQ(ends_[0].kind, MachineEnd::Kind::kBroken);
  EXPECT_THAT(ends_[0].text, HasSubstr("event"));
}

}  // namespace
}  // namespace writ::test
