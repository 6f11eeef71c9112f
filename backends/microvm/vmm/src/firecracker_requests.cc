#include "writ/backends/microvm/api_request.h"
#include "writ/backends/microvm/guest_layout.h"

namespace writ::backends::microvm::firecracker {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kStart{30'000};
constexpr milliseconds kWrite{240'000};
constexpr std::uint64_t kOneSlot = 3ull << 30;
constexpr VmmVersion kMergesSlots{1, 15, 0};      // pull request 5705
constexpr VmmVersion kTrackDirtyPages{1, 13, 0};  // before: enable_diff_snapshots
constexpr VmmVersion kGatesResume{1, 16, 0};
constexpr VmmVersion kGatesResumeNoMore{1, 16, 2};

ApiRequest Put(std::string path, json::Object body) {
  return {.method = "PUT", .path = std::move(path), .body = std::move(body)};
}

// In this order the guest's kernel names them: vda, vdb, vdc.
ApiRequest Drive(const std::string& name, const std::string& file) {
  return Put("/drives/" + name, {{"drive_id", name},
                                 {"is_root_device", false},
                                 {"is_read_only", true},
                                 {"path_on_host", file}});
}

std::string KernelCommand(const MachineSpec& spec) {
  // A restart is the end of a monitor, by the keyboard's controller; a panic is a restart, at once.
  std::string line = "console=ttyS0 panic=-1 reboot=k pci=off quiet i8042.noaux i8042.nomux";
  line += std::string(" ") + kVsockWord + " " + kDriveWord + kRootDrive + "=vda";
  if (!spec.inputs.empty()) line += std::string(" ") + kDriveWord + kInputsDrive + "=vdb";
  if (!spec.base.empty())
    line += std::string(" ") + kDriveWord + kBaseDrive + (spec.inputs.empty() ? "=vdb" : "=vdc");
  return line;
}

}  // namespace

ApiRequest AskVersion(const VmmVersion& version) {
  ApiRequest ask{.method = "GET", .path = "/version", .expected = 200, .bound = kStart};
  ask.check = [version](const json::Value& body) -> Status {
    auto said = ParseVmmVersion(body.FindString("firecracker_version").value_or(""));
    if (said && *said == version) return {};
    return Error{ErrorKind::kUnsupported, "microvm.vmm_version",
                 "the monitor is not the version that was probed, " + version.text()};
  };
  return ask;
}

std::vector<ApiRequest> Boot(const MachineSpec& spec) {
  std::vector<ApiRequest> out = {AskVersion(spec.version)};
  json::Object machine{{"vcpu_count", spec.cpus}, {"mem_size_mib", spec.memory_bytes >> 20}};
  if (spec.track_dirty) machine.Set("track_dirty_pages", true);
  out.push_back(Put("/machine-config", std::move(machine)));
  out.push_back(Put("/boot-source", {{"kernel_image_path", spec.kernel},
                                     {"initrd_path", spec.initramfs},
                                     {"boot_args", KernelCommand(spec)}}));
  out.push_back(Drive(kRootDrive, spec.root));
  if (!spec.inputs.empty()) out.push_back(Drive(kInputsDrive, spec.inputs));
  if (!spec.base.empty()) out.push_back(Drive(kBaseDrive, spec.base));
  out.push_back(Put("/vsock", {{"guest_cid", kGuestCid}, {"uds_path", kAgentSocket}}));
  out.push_back(Put("/entropy", {}));
  out.push_back(Put("/actions", {{"action_type", "InstanceStart"}}));
  out.back().bound = kStart;
  return out;
}

Result<std::vector<ApiRequest>> Snapshot(const MachineSpec& spec, const SnapshotOrder& order) {
  const bool full = order.kind == SnapshotKind::kFull;
  if (!full && spec.memory_bytes > kOneSlot && spec.version < kMergesSlots)
    return Error{.kind = ErrorKind::kUnsupported,
                 .code = "microvm.differential",
                 .message =
                     "Firecracker before 1.15 damages differential snapshots of machines "
                     "with more than 3 GiB",
                 .hint = "take a full one, or Firecracker 1.15.1 or newer"};
  ApiRequest create = Put("/snapshot/create", {{"snapshot_type", full ? "Full" : "Diff"},
                                               {"snapshot_path", order.directory + "/" + kState},
                                               {"mem_file_path", order.directory + "/" + kMemory}});
  create.bound = kWrite;
  return std::vector<ApiRequest>{std::move(create)};
}

std::vector<ApiRequest> Restore(const MachineSpec& spec, const RestoreOrder& order) {
  const auto* server = std::get_if<PageServer>(&order.memory);
  json::Object backend{
      {"backend_type", server != nullptr ? "Uffd" : "File"},
      {"backend_path", server != nullptr ? server->socket : order.directory + "/" + kMemory}};
  json::Object load{{"snapshot_path", order.directory + "/" + kState},
                    {"mem_backend", std::move(backend)},
                    {"resume_vm", order.after == AfterRestore::kRunning}};
  if (spec.track_dirty)
    load.Set(spec.version >= kTrackDirtyPages ? "track_dirty_pages" : "enable_diff_snapshots",
             true);
  std::vector<ApiRequest> out = {AskVersion(spec.version), Put("/snapshot/load", std::move(load))};
  out.back().bound = kStart;
  return out;
}

ApiRequest SetState(std::string_view state) {
  return {.method = "PATCH", .path = "/vm", .body = json::Object{{"state", state}}};
}

ApiRequest PutDrive(const std::string& name, const std::string& file) {
  return {.method = "PATCH",
          .path = "/drives/" + name,
          .body = json::Object{{"drive_id", name}, {"path_on_host", file}}};
}

bool SurvivesBarePause(const VmmVersion& version) {
  return version < kGatesResume || version >= kGatesResumeNoMore;
}

}  // namespace writ::backends::microvm::firecracker
