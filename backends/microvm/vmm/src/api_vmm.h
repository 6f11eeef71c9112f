// ApiVmm: what Firecracker and Cloud Hypervisor have in common - a process in the machine's place,
// an API socket and an agent's socket there.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "api_client.h"
#include "monitor_process.h"
#include "vsock_dial.h"
#include "writ/backends/microvm/vmm.h"

namespace writ::backends::microvm {

class ApiVmm : public Vmm {
 protected:
  explicit ApiVmm(EventLoop& loop) : Vmm(loop), process_(loop) {}
  // `fds`: as SpawnOptions::fds, beside output, which is the console.
  Status Launch(const MachineSpec& spec, std::vector<std::string> arguments,
                std::vector<std::pair<int, int>> fds);
  // Settles the call with what comes of them.
  void Ask(std::vector<ApiRequest> requests);
  // Why the guest is said to have ended itself, once the monitor is gone.
  virtual std::string GuestEnded() const = 0;
  const MonitorProcess& process() const { return process_; }
  const MachineSpec& spec() const { return spec_; }

  void DoKill() override;

 private:
  void DoConnect(Connected connected) override;

  MonitorProcess process_;
  MachineSpec spec_;
  std::unique_ptr<ApiClient> client_;
  std::unique_ptr<VsockDial> dial_;
};

}  // namespace writ::backends::microvm
