// VsockDial: from the host to a port of the guest, by the Unix socket that Firecracker and Cloud
// Hypervisor make of a vsock device: "CONNECT PORT\n" is answered by "OK PORT\n", or the connection
// is closed where nobody listens. Tried again until somebody does.
#pragma once

#include <functional>
#include <string>

#include "writ/backends/microvm/event_loop.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::microvm {

class VsockDial {
 public:
  // `connected` is called once, with the guest's bytes coming next.
  VsockDial(EventLoop& loop, std::string socket, unsigned port,
            std::function<void(UniqueFd)> connected);
  ~VsockDial();
  VsockDial(const VsockDial&) = delete;
  VsockDial& operator=(const VsockDial&) = delete;

 private:
  void Try();
  void Again();
  void OnReadable();

  EventLoop& loop_;
  const std::string socket_;
  const unsigned port_;
  std::function<void(UniqueFd)> connected_;
  UniqueFd fd_;
  std::string answer_;
  EventLoop::WatchId watch_ = 0;  // of fd_, or until the next try
};

}  // namespace writ::backends::microvm
