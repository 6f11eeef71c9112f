#include "connect_supervision.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "writ/backends/linux/kernel_constants.h"
#include "writ/backends/linux/pidfd.h"
#include "writ/backends/linux/process_tree.h"

namespace writ::backends::launch {
namespace {

constexpr std::size_t kMaxPending = 256;

int IntOption(int socket, int level, int option) {
  int value = -1;
  socklen_t size = sizeof value;
  return ::getsockopt(socket, level, option, &value, &size) == 0 ? value : -1;
}

bool IsPlainTcp(int socket) {
  return IntOption(socket, SOL_SOCKET, SO_DOMAIN) == AF_INET &&
         IntOption(socket, SOL_SOCKET, SO_TYPE) == SOCK_STREAM &&
         IntOption(socket, SOL_SOCKET, SO_PROTOCOL) == IPPROTO_TCP;
}

// Options that would carry bytes elsewhere; seccomp refuses to set them, this is the second look.
bool HasDetour(int socket) {
  char options[64];
  socklen_t size = sizeof options;
  if (::getsockopt(socket, IPPROTO_IP, IP_OPTIONS, options, &size) != 0 || size != 0) return true;
  return IntOption(socket, IPPROTO_TCP, kernel::kTcpFastOpenConnect) > 0;
}

std::string Describe(const SocketAddress& address) {
  char text[INET6_ADDRSTRLEN] = {};
  if (address.storage.ss_family == AF_INET && address.size >= sizeof(sockaddr_in)) {
    sockaddr_in in{};
    std::memcpy(&in, &address.storage, sizeof in);
    ::inet_ntop(AF_INET, &in.sin_addr, text, sizeof text);
    return std::string(text) + ":" + std::to_string(ntohs(in.sin_port));
  }
  if (address.storage.ss_family == AF_INET6 && address.size >= sizeof(sockaddr_in6)) {
    sockaddr_in6 in{};
    std::memcpy(&in, &address.storage, sizeof in);
    ::inet_ntop(AF_INET6, &in.sin6_addr, text, sizeof text);
    return "[" + std::string(text) + "]:" + std::to_string(ntohs(in.sin6_port));
  }
  if (address.storage.ss_family == AF_UNIX) return "unix";
  return "family " + std::to_string(address.storage.ss_family);
}

}  // namespace

void ConnectSupervision::AddPollFds(std::vector<pollfd>& fds) const {
  if (listener_) fds.push_back({listener_.get(), POLLIN, 0});
  for (const Pending& pending : pending_) fds.push_back({pending.socket.get(), POLLOUT, 0});
}

void ConnectSupervision::OnPoll(const pollfd* fds, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    if (fds[i].revents == 0) continue;
    if (listener_ && fds[i].fd == listener_.get()) {
      if ((fds[i].revents & POLLIN) != 0)
        OnNotification();
      else
        listener_.reset();  // POLLHUP: the last process with this filter is gone
      continue;
    }
    for (std::size_t p = 0; p < pending_.size(); ++p) {
      if (pending_[p].socket.get() != fds[i].fd) continue;
      int err = IntOption(fds[i].fd, SOL_SOCKET, SO_ERROR);
      if (listener_) AnswerNotification(listener_.get(), pending_[p].id, 0, err < 0 ? EIO : err);
      pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(p));
      break;
    }
  }
}

void ConnectSupervision::OnNotification() {
  auto received = ReceiveNotification(listener_.get());
  if (!received || !*received) return;
  const Notification& call = **received;
  switch (call.syscall) {
    case SYS_connect:
      return OnConnect(call);
    case SYS_bind:
      return OnBind(call);
    case SYS_socket:
      return OnSocket(call);
    default:
      return AnswerNotification(listener_.get(), call.id, 0, ENOSYS);
  }
}

void ConnectSupervision::Refuse(const Notification& call, int err, std::string address,
                                std::string reason) {
  ++refused_total_;
  RefusedMessage message;
  message.pid = call.tid;
  message.program = ProgramName(call.tid);
  message.address = std::move(address);
  message.reason = std::move(reason);
  AnswerNotification(listener_.get(), call.id, 0, err);
  refused_(message);
}

UniqueFd ConnectSupervision::TakeSocket(const Notification& call) const {
  auto pidfd = OpenPidfdOfThread(call.tid);
  // Valid after the pidfd was opened: the pidfd is the caller's, not a later process of the same
  // number.
  if (!pidfd || !NotificationStillValid(listener_.get(), call.id)) return {};
  auto copy = CopyDescriptor(pidfd->get(), static_cast<int>(call.args[0]));
  return copy ? std::move(copy).value() : UniqueFd();
}

void ConnectSupervision::OnConnect(const Notification& call) {
  auto address = ReadSocketAddress(call.tid, call.args[1], call.args[2] & 0xffffffff);
  if (!NotificationStillValid(listener_.get(), call.id)) return;
  if (!address) return Refuse(call, EFAULT, "unreadable", "the address cannot be read");
  if (network_ == Network::kOfItsOwn) return OnConnectInside(call, *address);
  const std::string text = Describe(*address);
  const int family = address->storage.ss_family;
  if (family == AF_UNSPEC) return Refuse(call, EACCES, text, "a connection is not given up here");
  if (family != AF_INET && family != AF_INET6)
    return Refuse(call, EACCES, text, "not a TCP connection");
  if (family != AF_INET || address->size < sizeof(sockaddr_in))
    return Refuse(call, ECONNREFUSED, text, "not the session's proxy");
  sockaddr_in wanted{};
  std::memcpy(&wanted, &address->storage, sizeof wanted);
  if (!proxy_) return Refuse(call, ECONNREFUSED, text, "this job has no network");
  if (wanted.sin_addr.s_addr != proxy_->ipv4 || ntohs(wanted.sin_port) != proxy_->port)
    return Refuse(call, ECONNREFUSED, text, "not the session's proxy");
  UniqueFd socket = TakeSocket(call);
  if (!socket) return Refuse(call, EACCES, text, "the socket cannot be looked at");
  if (!IsPlainTcp(socket.get())) return Refuse(call, EACCES, text, "not a TCP socket");
  if (HasDetour(socket.get()))
    return Refuse(call, EACCES, text, "the socket has options that are not allowed");
  ConnectToProxy(call, std::move(socket));
}

void ConnectSupervision::OnConnectInside(const Notification& call, const SocketAddress& address) {
  const int family = address.storage.ss_family;
  bool loopback = family == AF_UNSPEC || family == AF_UNIX || family == AF_NETLINK;
  if (family == AF_INET && address.size >= sizeof(sockaddr_in)) {
    sockaddr_in in{};
    std::memcpy(&in, &address.storage, sizeof in);
    const std::uint32_t host = ntohl(in.sin_addr.s_addr);
    loopback = host == INADDR_ANY || (host >> 24) == 127;
    // What it asks the kernel for after this is its own affair; a number that is no socket is not
    // even an attempt.
    if (proxy_ && in.sin_addr.s_addr == proxy_->ipv4 && ntohs(in.sin_port) == proxy_->port &&
        IsPlainTcp(TakeSocket(call).get()))
      ++proxied_total_;
  }
  if (family == AF_INET6 && address.size >= sizeof(sockaddr_in6)) {
    sockaddr_in6 in{};
    std::memcpy(&in, &address.storage, sizeof in);
    loopback = IN6_IS_ADDR_LOOPBACK(&in.sin6_addr) || IN6_IS_ADDR_UNSPECIFIED(&in.sin6_addr) ||
               (IN6_IS_ADDR_V4MAPPED(&in.sin6_addr) && in.sin6_addr.s6_addr[12] == 127);
  }
  if (loopback) return ContinueNotification(listener_.get(), call.id);
  Refuse(call, ENETUNREACH, Describe(address), "not the session's proxy");
}

void ConnectSupervision::ConnectToProxy(const Notification& call, UniqueFd socket) {
  sockaddr_in proxy{};
  proxy.sin_family = AF_INET;
  proxy.sin_addr.s_addr = proxy_->ipv4;
  proxy.sin_port = htons(proxy_->port);
  // The flag belongs to the open socket that both of us hold; it is put back before anything waits.
  const int flags = ::fcntl(socket.get(), F_GETFL);
  const bool blocking = (flags & O_NONBLOCK) == 0;
  if (blocking) ::fcntl(socket.get(), F_SETFL, flags | O_NONBLOCK);
  int rc = ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&proxy), sizeof proxy);
  const int err = rc == 0 ? 0 : errno;
  if (blocking) ::fcntl(socket.get(), F_SETFL, flags);
  if (err == 0 || err == EINPROGRESS) ++proxied_total_;
  if (err != EINPROGRESS || !blocking) return AnswerNotification(listener_.get(), call.id, 0, err);
  if (pending_.size() >= kMaxPending)
    return AnswerNotification(listener_.get(), call.id, 0, EAGAIN);
  pending_.push_back({call.id, std::move(socket)});
}

// Binding is only for NETLINK_ROUTE (getifaddrs); a TCP port would let others in.
void ConnectSupervision::OnBind(const Notification& call) {
  auto address = ReadSocketAddress(call.tid, call.args[1], call.args[2] & 0xffffffff);
  if (!NotificationStillValid(listener_.get(), call.id)) return;
  if (!address) return Refuse(call, EFAULT, "unreadable", "the address cannot be read");
  if (address->storage.ss_family != AF_NETLINK)
    return Refuse(call, EACCES, Describe(*address), "binding an address is not given");
  UniqueFd socket = TakeSocket(call);
  if (!socket || IntOption(socket.get(), SOL_SOCKET, SO_DOMAIN) != AF_NETLINK ||
      IntOption(socket.get(), SOL_SOCKET, SO_PROTOCOL) != NETLINK_ROUTE)
    return Refuse(call, EACCES, "netlink", "not a NETLINK_ROUTE socket");
  int rc =
      ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address->storage), address->size);
  AnswerNotification(listener_.get(), call.id, 0, rc == 0 ? 0 : errno);
}

void ConnectSupervision::OnSocket(const Notification& call) {
  const auto family = static_cast<int>(call.args[0]);
  const auto type = static_cast<int>(call.args[1]) & 0xf;
  const auto protocol = static_cast<int>(call.args[2]);
  const std::string what = "socket family " + std::to_string(family) + " type " +
                           std::to_string(type) + " protocol " + std::to_string(protocol);
  if (family != AF_INET && (network_ == Network::kOfTheHost || family != AF_INET6))
    return Refuse(call, EAFNOSUPPORT, what, "an address family that is not given");
  if (type == SOCK_RAW || type == SOCK_PACKET) return Refuse(call, EPERM, what, "a raw socket");
  if (type == SOCK_DGRAM)
    return Refuse(call, EACCES, what, "UDP; there is no resolver but the proxy");
  return Refuse(call, EPROTONOSUPPORT, what, "a protocol other than TCP");
}

}  // namespace writ::backends::launch
