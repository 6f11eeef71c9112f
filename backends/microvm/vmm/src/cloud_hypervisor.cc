// Cloud Hypervisor: its own seccomp filters are on. It boots a guest that restarts anew, in the
// same process, so its events are listened to: a guest that ends itself ends its machine.
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <set>
#include <string>

#include "api_vmm.h"
#include "writ/backends/microvm/guest_layout.h"

namespace writ::backends::microvm {
namespace {

constexpr int kEventsFd = 3;
constexpr std::size_t kMaxEvent = 64 * 1024;
constexpr std::string_view kEventEnd = "\n\n";

class CloudHypervisor final : public ApiVmm {
 public:
  explicit CloudHypervisor(EventLoop& loop) : ApiVmm(loop) {}
  ~CloudHypervisor() override { Kill(); }
  SnapshotParts Parts() const override {
    SnapshotParts parts;
    for (const char* name : cloud_hypervisor::kState) parts.state.emplace_back(name);
    parts.memory = cloud_hypervisor::kMemory;
    return parts;
  }

 private:
  Status Start(const MachineSpec& spec) {
    WRIT_ASSIGN(SocketPair events, MakeStreamPair());
    WRIT_TRY(Launch(spec,
                    {"cloud-hypervisor", "--api-socket", std::string("path=") + kApiSocket,
                     "--event-monitor", "fd=" + std::to_string(kEventsFd)},
                    {{events.theirs.get(), kEventsFd}}));
    events_ = std::move(events.ours);
    ::fcntl(events_.get(), F_SETFL, O_NONBLOCK);
    watch_ = loop().Add(events_.get(), POLLIN, [this](short) { OnEvents(); });
    return {};
  }

  void NoteDrives(const MachineSpec& spec) {
    drives_.clear();
    if (!spec.inputs.empty()) drives_.insert(kInputsDrive);
    if (!spec.base.empty()) drives_.insert(kBaseDrive);
  }

  Status DoBoot(const MachineSpec& spec) override {
    WRIT_TRY(Start(spec));
    NoteDrives(spec);
    Ask(cloud_hypervisor::Boot(spec));
    return {};
  }

  Status DoRestore(const MachineSpec& spec, const RestoreOrder& order) override {
    WRIT_ASSIGN(std::vector<ApiRequest> requests, cloud_hypervisor::Restore(order));
    WRIT_TRY(Start(spec));
    NoteDrives(spec);
    requests.insert(requests.begin(), cloud_hypervisor::AskVersion(spec.version));
    Ask(std::move(requests));
    return {};
  }

  Status DoPause() override {
    Ask({cloud_hypervisor::Pause()});
    return {};
  }

  Status DoResume() override {
    Ask({cloud_hypervisor::Resume()});
    return {};
  }

  Status DoSnapshot(const SnapshotOrder& order) override {
    WRIT_ASSIGN(std::vector<ApiRequest> requests, cloud_hypervisor::Snapshot(order));
    Ask(std::move(requests));
    return {};
  }

  Status DoPutDrive(const std::string& name, const std::string& file) override {
    if (!drives_.insert(name).second)
      return Error{ErrorKind::kUnsupported, "microvm.inputs",
                   "Cloud Hypervisor puts no other file behind a drive that is there"};
    Ask({cloud_hypervisor::PutDrive(name, file)});
    return {};
  }

  void DoKill() override {
    loop().Remove(watch_);
    ApiVmm::DoKill();
  }

  std::string GuestEnded() const override {
    if (!guest_ended_.empty()) return guest_ended_;
    return process().exited_well() ? "shutdown" : "";
  }

  // JSON objects, each followed by an empty line.
  void OnEvents() {
    std::array<char, 4096> buffer{};
    const ssize_t count = ::read(events_.get(), buffer.data(), buffer.size());
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count <= 0) return loop().SetEvents(watch_, 0);  // its exit is told too
    held_.append(buffer.data(), static_cast<std::size_t>(count));
    for (auto end = held_.find(kEventEnd); end != std::string::npos; end = held_.find(kEventEnd)) {
      const std::string text = held_.substr(0, end);
      held_.erase(0, end + kEventEnd.size());
      if (!OnEvent(text)) return;
    }
    if (held_.size() > kMaxEvent) EndNow(MachineEnd::Kind::kBroken, "endless event");
  }

  // False: the machine has ended.
  bool OnEvent(const std::string& text) {
    if (text.empty()) return true;
    auto event = json::Parse(text, {.max_depth = 8, .max_bytes = kMaxEvent});
    const auto source = event ? event->FindString("source") : std::nullopt;
    const auto name = event ? event->FindString("event") : std::nullopt;
    if (!source || !name) return EndNow(MachineEnd::Kind::kBroken, "event that is none");
    if (*source == "guest" && *name == "panic")
      return EndNow(MachineEnd::Kind::kPanicked, "guest's panic");
    if (*source != "vm" || (*name != "rebooting" && *name != "shutdown" && *name != "deleted"))
      return true;
    return EndNow(MachineEnd::Kind::kPoweredOff, std::string(*name));
  }

  bool EndNow(MachineEnd::Kind kind, const std::string& what) {
    guest_ended_ = what;
    MachineEnd end = process().End(what);
    if (end.kind == MachineEnd::Kind::kPoweredOff) end.kind = kind;
    if (kind == MachineEnd::Kind::kBroken) end.text = "the monitor told an " + what;
    Ended(end);
    return false;
  }

  UniqueFd events_;
  EventLoop::WatchId watch_ = 0;
  std::string held_;
  std::string guest_ended_;
  std::set<std::string> drives_;  // that are there, beside the root
};

}  // namespace

std::unique_ptr<Vmm> MakeCloudHypervisor(EventLoop& loop) {
  return std::make_unique<CloudHypervisor>(loop);
}

}  // namespace writ::backends::microvm
