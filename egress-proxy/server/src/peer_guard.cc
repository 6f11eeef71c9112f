#include "peer_guard.h"

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace writ::egress {

Result<PeerGuard> PeerGuard::Open() {
  UniqueFd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!socket)
    return SysError(errno, "egress.sock_diag",
                    "cannot open sock_diag, which the peer's uid check needs");
  timeval timeout{1, 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  return PeerGuard(std::move(socket));
}

std::optional<uid_t> PeerGuard::OwnerOfPeer(int accepted) const {
  sockaddr_storage peer{};
  sockaddr_storage local{};
  socklen_t peer_size = sizeof peer;
  socklen_t local_size = sizeof local;
  if (::getpeername(accepted, reinterpret_cast<sockaddr*>(&peer), &peer_size) != 0 ||
      ::getsockname(accepted, reinterpret_cast<sockaddr*>(&local), &local_size) != 0)
    return std::nullopt;

  struct {
    nlmsghdr header;
    inet_diag_req_v2 request;
  } ask{};
  ask.header.nlmsg_len = sizeof ask;
  ask.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  ask.header.nlmsg_flags = NLM_F_REQUEST;
  ask.request.sdiag_protocol = IPPROTO_TCP;
  ask.request.idiag_states = ~0U;
  ask.request.id.idiag_cookie[0] = INET_DIAG_NOCOOKIE;
  ask.request.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  // The peer's socket: its source is our peer.
  if (peer.ss_family == AF_INET) {
    const auto& from = reinterpret_cast<const sockaddr_in&>(peer);
    const auto& to = reinterpret_cast<const sockaddr_in&>(local);
    ask.request.sdiag_family = AF_INET;
    ask.request.id.idiag_sport = from.sin_port;
    ask.request.id.idiag_dport = to.sin_port;
    std::memcpy(ask.request.id.idiag_src, &from.sin_addr, sizeof from.sin_addr);
    std::memcpy(ask.request.id.idiag_dst, &to.sin_addr, sizeof to.sin_addr);
  } else if (peer.ss_family == AF_INET6) {
    const auto& from = reinterpret_cast<const sockaddr_in6&>(peer);
    const auto& to = reinterpret_cast<const sockaddr_in6&>(local);
    ask.request.sdiag_family = AF_INET6;
    ask.request.id.idiag_sport = from.sin6_port;
    ask.request.id.idiag_dport = to.sin6_port;
    std::memcpy(ask.request.id.idiag_src, &from.sin6_addr, sizeof from.sin6_addr);
    std::memcpy(ask.request.id.idiag_dst, &to.sin6_addr, sizeof to.sin6_addr);
  } else {
    return std::nullopt;
  }
  if (::send(socket_.get(), &ask, sizeof ask, MSG_NOSIGNAL) != static_cast<ssize_t>(sizeof ask))
    return std::nullopt;
  alignas(nlmsghdr) char answer[4096];
  ssize_t n = ::recv(socket_.get(), answer, sizeof answer, 0);
  if (n < static_cast<ssize_t>(NLMSG_LENGTH(sizeof(inet_diag_msg)))) return std::nullopt;
  nlmsghdr header;
  std::memcpy(&header, answer, sizeof header);
  if (header.nlmsg_type != SOCK_DIAG_BY_FAMILY) return std::nullopt;
  inet_diag_msg found;
  std::memcpy(&found, answer + NLMSG_HDRLEN, sizeof found);
  // The kernel looks a four-tuple up; a listener that it may fall back to is not a peer.
  if (found.id.idiag_dport != ask.request.id.idiag_dport ||
      found.id.idiag_sport != ask.request.id.idiag_sport)
    return std::nullopt;
  if (found.idiag_inode == 0) return std::nullopt;  // TIME_WAIT and the like belong to nobody
  return found.idiag_uid;
}

}  // namespace writ::egress
