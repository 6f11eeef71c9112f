// Every request that a driver makes is one of the API that its monitor's project has published.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/shared_dir.h"
#include "unit/backends/microvm/api_description.h"
#include "writ/backends/microvm/api_request.h"
#include "writ/base/file.h"

namespace writ::test {
namespace {

using namespace backends::microvm;
using testing::HasSubstr;

constexpr char kFirecracker[] = "vmm-api/firecracker-1.16.1.yaml";
constexpr char kCloudHypervisor[] = "vmm-api/cloud-hypervisor-v53.0.yaml";

ApiDescription Description(const std::string& name) {
  auto text = ReadFile(SharedDir() + "/testdata/" + name, 4u << 20);
  if (!text) std::abort();
  return ApiDescription(ReadYaml(*text));
}

MachineSpec Spec() {
  MachineSpec spec;
  spec.version = {1, 16, 1};
  spec.acceleration = Acceleration::kKvm;
  spec.memory_bytes = 256u << 20;
  spec.kernel = "/machine/kernel";
  spec.initramfs = "/tmp/initramfs";
  spec.root = "/machine/root.erofs";
  spec.inputs = "/tmp/inputs.erofs";
  spec.place = "/tmp/place";
  return spec;
}

void ExpectDescribed(const ApiDescription& api, const std::vector<ApiRequest>& requests) {
  for (const ApiRequest& one : requests)
    EXPECT_EQ(api.WhyNot(one.method, one.path, one.body, one.expected), "");
}

const json::Value& BodyOf(const std::vector<ApiRequest>& requests, const std::string& path) {
  for (const ApiRequest& one : requests)
    if (one.path == path) return one.body;
  std::abort();
}

TEST(ApiDescription, TellsARequestOfItFromOneThatIsNone) {
  WRIT_REQUIRE_SHARED_TESTDATA(kFirecracker);
  const ApiDescription api = Description(kFirecracker);
  auto why = [&](json::Object body) { return api.WhyNot("PATCH", "/vm", std::move(body), 204); };
  EXPECT_EQ(why({{"state", "Paused"}}), "");
  EXPECT_THAT(why({}), HasSubstr("has no state"));
  EXPECT_THAT(why({{"state", "Frozen"}}), HasSubstr("enum"));
  EXPECT_THAT(why({{"state", 1}}), HasSubstr("enum"));
  EXPECT_THAT(why({{"state", "Paused"}, {"more", 1}}), HasSubstr("not described"));
  EXPECT_THAT(api.WhyNot("PUT", "/vm", {}, 204), HasSubstr("has no PUT"));
  EXPECT_THAT(api.WhyNot("PATCH", "/vms", {}, 204), HasSubstr("no path"));
  EXPECT_THAT(api.WhyNot("PATCH", "/vm", json::Object{{"state", "Paused"}}, 200),
              HasSubstr("not answered by 200"));
  const json::Object machine{{"vcpu_count", 33}, {"mem_size_mib", 1}};
  EXPECT_THAT(api.WhyNot("PUT", "/machine-config", machine, 204), HasSubstr("is high"));
  const json::Object text{{"vcpu_count", "1"}, {"mem_size_mib", 1}};
  EXPECT_THAT(api.WhyNot("PUT", "/machine-config", text, 204), HasSubstr("no integer"));
}

TEST(FirecrackerRequests, AreDescribed) {
  WRIT_REQUIRE_SHARED_TESTDATA(kFirecracker);
  const ApiDescription api = Description(kFirecracker);
  MachineSpec spec = Spec();
  spec.track_dirty = true;
  ExpectDescribed(api, firecracker::Boot(spec));
  spec.base = "/machine/base.erofs";
  ExpectDescribed(api, firecracker::Boot(spec));
  for (auto kind : {SnapshotKind::kFull, SnapshotKind::kDifferential})
    ExpectDescribed(api, *firecracker::Snapshot(spec, {"/tmp/snapshot", kind, {}}));
  const RestoreOrder file{"/tmp/snapshot", MemoryFile{}, AfterRestore::kPaused};
  const RestoreOrder server{"/tmp/snapshot", PageServer{"/tmp/pages", ""}, AfterRestore::kRunning};
  ExpectDescribed(api, firecracker::Restore(spec, file));
  ExpectDescribed(api, firecracker::Restore(spec, server));
  ExpectDescribed(
      api, {firecracker::SetState("Paused"), firecracker::SetState("Resumed"),
            firecracker::PutDrive("inputs", "/tmp/inputs"), firecracker::AskVersion({1, 16, 1})});
}

TEST(FirecrackerRequests, AskForNoNetworkAndWriteToNoDrive) {  // L26
  const auto requests = firecracker::Boot(Spec());
  for (const ApiRequest& one : requests) EXPECT_THAT(one.path, testing::Not(HasSubstr("network")));
  for (const char* drive : {"/drives/root", "/drives/inputs"})
    EXPECT_EQ(*BodyOf(requests, drive).Find("is_read_only"), json::Value(true));
  EXPECT_EQ(*BodyOf(requests, "/vsock").FindString("uds_path"), kAgentSocket)
      << "relative: each clone has its own";
}

// It finds no drive by its name.
TEST(FirecrackerRequests, NameEachDriveToTheKernelInTheOrderOfTheDevices) {
  MachineSpec spec = Spec();
  spec.base = "/machine/base.erofs";
  auto kernel = [&] {
    return std::string(*BodyOf(firecracker::Boot(spec), "/boot-source").FindString("boot_args"));
  };
  EXPECT_THAT(kernel(), HasSubstr("drive.root=vda writ.drive.inputs=vdb writ.drive.base=vdc"));
  spec.inputs.clear();
  EXPECT_THAT(kernel(), HasSubstr("drive.root=vda writ.drive.base=vdb"));
}

TEST(FirecrackerRequests, HaveTheFieldsOfTheVersion) {
  MachineSpec spec = Spec();
  spec.track_dirty = true;
  const RestoreOrder order{"/s", MemoryFile{}, AfterRestore::kPaused};
  auto load = [&] { return BodyOf(firecracker::Restore(spec, order), "/snapshot/load"); };
  EXPECT_NE(load().Find("track_dirty_pages"), nullptr);
  EXPECT_EQ(load().Find("enable_diff_snapshots"), nullptr);
  spec.version = {1, 12, 0};
  EXPECT_EQ(load().Find("track_dirty_pages"), nullptr);
  EXPECT_NE(load().Find("enable_diff_snapshots"), nullptr);

  const SnapshotOrder differential{"/s", SnapshotKind::kDifferential, {}};
  EXPECT_TRUE(firecracker::Snapshot(spec, differential));
  spec.memory_bytes = 4ull << 30;
  auto damaged = firecracker::Snapshot(spec, differential);
  ASSERT_FALSE(damaged);
  EXPECT_EQ(damaged.error().kind, ErrorKind::kUnsupported);
  spec.version = {1, 15, 1};
  EXPECT_TRUE(firecracker::Snapshot(spec, differential));
}

TEST(FirecrackerRequests, AreAnsweredByTheVersionThatWasProbed) {
  const ApiRequest ask = firecracker::AskVersion({1, 16, 1});
  auto said = [&](json::Object body) { return ask.check(json::Value(std::move(body))); };
  EXPECT_TRUE(said({{"firecracker_version", "1.16.1"}}));
  EXPECT_FALSE(said({{"firecracker_version", "1.16.0"}}));
  EXPECT_FALSE(said({{"firecracker_version", 1.16}}));
  EXPECT_FALSE(said({}));
}

TEST(CloudHypervisorRequests, AreDescribed) {
  WRIT_REQUIRE_SHARED_TESTDATA(kCloudHypervisor);
  const ApiDescription api = Description(kCloudHypervisor);
  MachineSpec spec = Spec();
  spec.version = {53, 0, 0};
  spec.base = "/machine/base.erofs";
  ExpectDescribed(api, cloud_hypervisor::Boot(spec));
  spec.inputs.clear();
  ExpectDescribed(api, cloud_hypervisor::Boot(spec));
  ExpectDescribed(api, *cloud_hypervisor::Snapshot({"/tmp/snapshot", SnapshotKind::kFull, {}}));
  for (auto after : {AfterRestore::kPaused, AfterRestore::kRunning})
    ExpectDescribed(api, *cloud_hypervisor::Restore({"/tmp/snapshot", MemoryFile{}, after}));
  ExpectDescribed(api, {cloud_hypervisor::Pause(), cloud_hypervisor::Resume(),
                        cloud_hypervisor::PutDrive("inputs", "/tmp/inputs"),
                        cloud_hypervisor::AskVersion({53, 0, 0})});
}

TEST(CloudHypervisorRequests, RefuseWhatItsApiHasNot) {  // L4
  auto differential =
      cloud_hypervisor::Snapshot({"/tmp/snapshot", SnapshotKind::kDifferential, {}});
  ASSERT_FALSE(differential);
  EXPECT_EQ(differential.error().kind, ErrorKind::kUnsupported);
  auto served = cloud_hypervisor::Restore({"/s", PageServer{"/p", ""}, AfterRestore::kPaused});
  ASSERT_FALSE(served);
  EXPECT_EQ(served.error().kind, ErrorKind::kUnsupported);
}

}  // namespace
}  // namespace writ::test
