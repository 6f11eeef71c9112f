// PeerGuard: which uid owns the other end of a loopback connection.
//
// TCP carries no credentials (SO_PEERCRED is for Unix sockets), but both ends of a loopback
// connection are in this kernel: sock_diag is asked for exactly that socket by its four-tuple,
// which costs one exchange on an open netlink socket and does not grow with the number of
// connections, unlike reading /proc/net/tcp. It answers for the network namespace in which the
// guard was opened.
#pragma once

#include <sys/types.h>

#include <optional>

#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::egress {

class PeerGuard {
 public:
  static Result<PeerGuard> Open();  // before the system call filter: it makes a netlink socket
  // The owner of the socket at the other end of `accepted`; nullopt where there is none any more
  // or it is not of this host.
  std::optional<uid_t> OwnerOfPeer(int accepted) const;

 private:
  explicit PeerGuard(UniqueFd socket) : socket_(std::move(socket)) {}
  UniqueFd socket_;
};

}  // namespace writ::egress
