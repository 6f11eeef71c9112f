#include "api_vmm.h"

#include "writ/backends/microvm/guest_layout.h"

namespace writ::backends::microvm {
namespace {

constexpr std::size_t kMaxPlace = 90;  // a socket's path has at most 107 bytes

}  // namespace

Status ApiVmm::Launch(const MachineSpec& spec, std::vector<std::string> arguments,
                      std::vector<std::pair<int, int>> fds) {
  if (spec.acceleration != Acceleration::kKvm)
    return Error{ErrorKind::kUnsupported, "microvm.kvm",
                 std::string("this monitor emulates nothing: it needs KVM")};
  if (spec.place.empty() || spec.place.front() != '/' || spec.place.size() > kMaxPlace)
    return Error{ErrorKind::kInvalid, "microvm.place",
                 "the machine's place is no absolute path of at most 90 bytes"};
  spec_ = spec;
  MonitorProcess::Start start;
  start.program = spec.vmm;
  start.argv = std::move(arguments);
  start.cwd = spec.place;
  start.fds = std::move(fds);
  start.console_fds = {1, 2};
  WRIT_TRY(process_.Run(start, [this] { Ended(process_.End(GuestEnded())); }));
  client_ = std::make_unique<ApiClient>(loop(), spec.place + "/" + kApiSocket);
  return {};
}

void ApiVmm::Ask(std::vector<ApiRequest> requests) {
  client_->Run(std::move(requests), [this](Status status) { Settle(std::move(status)); });
}

void ApiVmm::DoConnect(Connected connected) {
  dial_ = std::make_unique<VsockDial>(
      loop(), spec_.place + "/" + kAgentSocket, kAgentVsockPort,
      [connected = std::move(connected)](UniqueFd fd) { connected(std::move(fd)); });
}

void ApiVmm::DoKill() {
  dial_.reset();
  process_.Kill();
  // After the process: a call that is being made ends with it. Posted: we may be in its answer.
  if (!client_) return;
  client_->Abandon();
  loop().Post([last = std::shared_ptr<ApiClient>(std::move(client_))] {});
}

}  // namespace writ::backends::microvm
