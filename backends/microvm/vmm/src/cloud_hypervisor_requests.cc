#include "writ/backends/microvm/api_request.h"
#include "writ/backends/microvm/guest_layout.h"

namespace writ::backends::microvm::cloud_hypervisor {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kStart{30'000};
constexpr milliseconds kWrite{240'000};
constexpr int kOk = 200;

ApiRequest Put(const char* what, json::Value body = {}) {
  return {.method = "PUT", .path = std::string("/api/v1/") + what, .body = std::move(body)};
}

// Raw and said to be: nothing in a file is taken for the header of another format.
json::Object Disk(const std::string& name, const std::string& file) {
  return {
      {"id", name}, {"serial", name}, {"path", file}, {"readonly", true}, {"image_type", "Raw"}};
}

std::string KernelCommand() {
  return std::string("console=ttyS0 panic=-1 quiet ") + kVsockWord;
}

}  // namespace

ApiRequest AskVersion(const VmmVersion& version) {
  ApiRequest ask{.method = "GET", .path = "/api/v1/vmm.ping", .expected = kOk, .bound = kStart};
  ask.check = [version](const json::Value& body) -> Status {
    auto said = ParseVmmVersion(body.FindString("version").value_or(""));
    if (said && *said == version) return {};
    return Error{ErrorKind::kUnsupported, "microvm.vmm_version",
                 "the monitor is not the version that was probed, " + version.text()};
  };
  return ask;
}

std::vector<ApiRequest> Boot(const MachineSpec& spec) {
  json::Array disks = {Disk(kRootDrive, spec.root)};
  if (!spec.inputs.empty()) disks.push_back(Disk(kInputsDrive, spec.inputs));
  if (!spec.base.empty()) disks.push_back(Disk(kBaseDrive, spec.base));
  json::Object config{{"payload", json::Object{{"kernel", spec.kernel},
                                               {"initramfs", spec.initramfs},
                                               {"cmdline", KernelCommand()}}},
                      {"cpus", json::Object{{"boot_vcpus", spec.cpus}, {"max_vcpus", spec.cpus}}},
                      {"memory", json::Object{{"size", spec.memory_bytes}}},
                      {"disks", std::move(disks)},
                      {"rng", json::Object{{"src", "/dev/urandom"}}},
                      {"vsock", json::Object{{"cid", kGuestCid}, {"socket", kAgentSocket}}},
                      {"serial", json::Object{{"mode", "Tty"}}},
                      {"console", json::Object{{"mode", "Off"}}}};
  std::vector<ApiRequest> out = {AskVersion(spec.version), Put("vm.create", std::move(config)),
                                 Put("vm.boot")};
  out.back().bound = kStart;
  return out;
}

Result<std::vector<ApiRequest>> Snapshot(const SnapshotOrder& order) {
  if (order.kind == SnapshotKind::kDifferential)
    return Error{ErrorKind::kUnsupported, "microvm.differential",
                 "Cloud Hypervisor takes full snapshots alone"};
  std::vector<ApiRequest> out = {
      Put("vm.snapshot", json::Object{{"destination_url", "file://" + order.directory}})};
  out.back().bound = kWrite;
  return out;
}

Result<std::vector<ApiRequest>> Restore(const RestoreOrder& order) {
  if (std::holds_alternative<PageServer>(order.memory))
    return Error{.kind = ErrorKind::kUnsupported,
                 .code = "microvm.page_server",
                 .message = "Cloud Hypervisor hands its memory to no page server",
                 .hint = "restore from the memory file: it reads pages on demand itself"};
  std::vector<ApiRequest> out = {
      Put("vm.restore", json::Object{{"source_url", "file://" + order.directory},
                                     {"memory_restore_mode", "OnDemand"},
                                     {"resume", order.after == AfterRestore::kRunning}})};
  out.back().bound = kStart;
  return out;
}

ApiRequest Pause() {
  return Put("vm.pause");
}

ApiRequest Resume() {
  return Put("vm.resume");
}

// Its API puts no other file behind a drive: a machine that is to be cloned has none until now.
ApiRequest PutDrive(const std::string& name, const std::string& file) {
  ApiRequest add = Put("vm.add-disk", Disk(name, file));
  add.expected = kOk;
  return add;
}

}  // namespace writ::backends::microvm::cloud_hypervisor
