// ConnectSupervision: answers the job's connect, bind and odd socket calls from outside the job.
//
// Only a TCP stream socket over IPv4 may be connected, and only to the session's proxy. The address
// is copied out of the caller once and never looked at again there; the socket is copied too
// (pidfd_getfd) and *we* connect our copy to *our* address. So another thread that rewrites the
// address, or swaps the descriptor for another, changes nothing: there is no time of check to race.
// Everything else fails at once (L25) and is told to `refused`.
// In a network namespace of the job's own nothing but loopback is there to be reached, whatever the
// job does to the address: a call to loopback goes on as it is, one to elsewhere is answered with
// ENETUNREACH and told.
// One thread; never blocks: a connection that is still being made is finished in OnSocketReady.
#pragma once

#include <poll.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "writ/backends/launch/launch_plan.h"
#include "writ/backends/launch/messages.h"
#include "writ/backends/linux/seccomp.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::launch {

class ConnectSupervision {
 public:
  using RefusedCallback = std::function<void(const RefusedMessage&)>;
  enum class Network { kOfTheHost, kOfItsOwn };
  ConnectSupervision(UniqueFd listener, std::optional<ProxyTarget> proxy, Network network,
                     RefusedCallback refused)
      : listener_(std::move(listener)),
        proxy_(proxy),
        network_(network),
        refused_(std::move(refused)) {}

  // What to poll: the listener, then the connections in the making. Empty once the last process is
  // gone.
  void AddPollFds(std::vector<pollfd>& fds) const;
  // The same entries back with their results.
  void OnPoll(const pollfd* fds, std::size_t count);

  std::uint64_t refused_total() const { return refused_total_; }
  std::uint64_t proxied_total() const { return proxied_total_; }

 private:
  struct Pending {
    std::uint64_t id = 0;
    UniqueFd socket;
  };
  void OnNotification();
  void OnConnect(const Notification& call);
  void OnConnectInside(const Notification& call, const SocketAddress& address);
  void OnBind(const Notification& call);
  void OnSocket(const Notification& call);
  void Refuse(const Notification& call, int err, std::string address, std::string reason);
  // Our copy of the caller's descriptor; empty where the caller is gone or may not be looked into.
  UniqueFd TakeSocket(const Notification& call) const;
  void ConnectToProxy(const Notification& call, UniqueFd socket);

  UniqueFd listener_;
  std::optional<ProxyTarget> proxy_;
  Network network_;
  RefusedCallback refused_;
  std::vector<Pending> pending_;
  std::uint64_t refused_total_ = 0;
  std::uint64_t proxied_total_ = 0;
};

}  // namespace writ::backends::launch
