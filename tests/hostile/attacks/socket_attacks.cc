// Other kinds of sockets: Unix, UDP, raw, packet, vsock, netlink, io_uring, inherited ones.
#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>

#include "attack.h"

namespace writ::hostile {
namespace {

constexpr std::uint64_t kHighBit = 1ull << 32;

struct UnixAddress {
  sockaddr_un address{};
  socklen_t size = 0;
};
UnixAddress Path(const std::string& path) {
  UnixAddress out;
  out.address.sun_family = AF_UNIX;
  std::memcpy(out.address.sun_path, path.data(), path.size());
  out.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
  return out;
}
UnixAddress Abstract(const std::string& name) {
  UnixAddress out;
  out.address.sun_family = AF_UNIX;
  std::memcpy(out.address.sun_path + 1, name.data(), name.size());
  out.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  return out;
}

Result UnixStream(const UnixAddress& to) {
  int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
  if (socket < 0) return Result::kRefused;
  return From(::connect(socket, reinterpret_cast<const sockaddr*>(&to.address), to.size) == 0);
}
Result UnixPath() {
  return UnixStream(Path(Target("UNIX_PATH")));
}
Result UnixAbstract() {
  return UnixStream(Abstract(Target("UNIX_ABSTRACT")));
}

Result UnixHighBits() {
  auto socket = static_cast<int>(::syscall(SYS_socket, kHighBit | AF_UNIX, SOCK_STREAM, 0));
  if (socket < 0) return Result::kRefused;
  UnixAddress to = Path(Target("UNIX_PATH"));
  return From(::connect(socket, reinterpret_cast<const sockaddr*>(&to.address), to.size) == 0);
}

Result UnixDatagram(int socket) {
  if (socket < 0) return Result::kRefused;
  UnixAddress to = Path(Target("UNIX_DGRAM_PATH"));
  return From(
      ::sendto(socket, "x", 1, 0, reinterpret_cast<const sockaddr*>(&to.address), to.size) == 1);
}
Result UnixDatagramSocket() {
  return UnixDatagram(::socket(AF_UNIX, SOCK_DGRAM, 0));
}

// A datagram socket pair needs no name of its own and sends to any address.
Result DatagramSocketPair() {
  int pair[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) != 0) return Result::kRefused;
  return UnixDatagram(pair[0]);
}
Result DatagramSocketPairHighBits() {
  int pair[2] = {-1, -1};
  if (::syscall(SYS_socketpair, kHighBit | AF_UNIX, kHighBit | SOCK_DGRAM, 0, pair) != 0)
    return Result::kRefused;
  return UnixDatagram(pair[0]);
}

Result SendUdp(int socket) {
  if (socket < 0) return Result::kRefused;
  sockaddr_in to = Ipv4("127.0.0.1", TargetNumber("UDP_PORT"));
  return From(::sendto(socket, "x", 1, 0, reinterpret_cast<sockaddr*>(&to), sizeof to) == 1);
}
Result Udp() {
  return SendUdp(::socket(AF_INET, SOCK_DGRAM, 0));
}
Result UdpLite() {
  return SendUdp(::socket(AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE));
}
Result UdpHighBits() {
  return SendUdp(
      static_cast<int>(::syscall(SYS_socket, kHighBit | AF_INET, kHighBit | SOCK_DGRAM, 0)));
}
Result Udp6() {
  if (TargetNumber("TCP6_PORT") == 0) return Result::kCannotTry;
  return From(::socket(AF_INET6, SOCK_DGRAM, 0) >= 0);
}

Result Makes(int family, int type, int protocol) {
  if (::socket(family, type, protocol) >= 0) return Result::kGotThrough;
  const bool absent = errno == EAFNOSUPPORT || errno == EPROTONOSUPPORT || errno == ESOCKTNOSUPPORT;
  return absent && Target("GUARDED").empty() ? Result::kCannotTry : Result::kRefused;
}
Result Raw() {
  return Makes(AF_INET, SOCK_RAW, IPPROTO_TCP);
}
Result RawIcmp() {
  return Makes(AF_INET, SOCK_RAW, IPPROTO_ICMP);
}
Result Packet() {
  return Makes(AF_PACKET, SOCK_RAW, 0);
}
Result Vsock() {
  return Makes(AF_VSOCK, SOCK_STREAM, 0);
}
Result Alg() {
  return Makes(AF_ALG, SOCK_SEQPACKET, 0);
}
Result NetlinkUevent() {
  return Makes(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT);
}
Result NetlinkUser() {
  return Makes(AF_NETLINK, SOCK_DGRAM, NETLINK_USERSOCK);
}
Result NetlinkDiag() {
  return Makes(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG);
}
Result Raw6() {
  return Makes(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
}
// The socket that ping uses where it is not set-uid.
Result Ping() {
  return Makes(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
}
Result NetlinkGeneric() {
  return Makes(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC);
}
Result NetlinkNetfilter() {
  return Makes(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
}
Result NetlinkAudit() {
  return Makes(AF_NETLINK, SOCK_RAW, NETLINK_AUDIT);
}
Result NetlinkConnector() {
  return Makes(AF_NETLINK, SOCK_DGRAM, NETLINK_CONNECTOR);
}
// All that nobody asked for by name: the kernel has dozens of families.
Result OtherFamilies() {
  bool made = false;
  for (int family = 0; family < 48; ++family) {
    if (family == AF_UNIX || family == AF_INET || family == AF_INET6 || family == AF_NETLINK)
      continue;
    for (int type : {SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET})
      made = made || ::socket(family, type, 0) >= 0;
  }
  return From(made);
}

// The loopback taken down: everybody's, or that of a network of one's own.
Result ChangeInterface() {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  ifreq request{};
  std::strncpy(request.ifr_name, "lo", IFNAMSIZ - 1);
  if (socket < 0 || ::ioctl(socket, SIOCGIFFLAGS, &request) != 0) return Result::kCannotTry;
  return From(::ioctl(socket, SIOCSIFFLAGS, &request) == 0);  // as they are
}
Result ChangeInterfaceByNetlink() {
  struct {
    nlmsghdr header{};
    ifinfomsg info{};
  } request;
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = RTM_NEWLINK;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  request.info.ifi_index = 1;
  const int socket = ::socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
  struct {
    nlmsghdr header;
    nlmsgerr error;
    char rest[512];
  } answer{};
  if (socket < 0 || ::send(socket, &request, sizeof request, 0) < 0 ||
      ::recv(socket, &answer, sizeof answer, 0) < static_cast<ssize_t>(sizeof(nlmsgerr)))
    return Result::kRefused;
  return From(answer.header.nlmsg_type == NLMSG_ERROR && answer.error.error == 0);
}
// What addresses and ports the host has.
Result ReadInterfaces() {
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return Result::kRefused;
  return From(list != nullptr);
}
Result ReadHostPorts() {
  std::FILE* file = std::fopen("/proc/net/tcp", "r");
  if (file == nullptr) return Result::kRefused;
  char wanted[16];
  std::snprintf(wanted, sizeof wanted, ":%04X", static_cast<unsigned>(TargetNumber("TCP_PORT")));
  char line[512];
  while (std::fgets(line, sizeof line, file) != nullptr) {
    if (std::strstr(line, wanted) != nullptr) return Result::kGotThrough;
  }
  return Result::kRefused;
}

Result Sctp() {
  return Makes(AF_INET, SOCK_STREAM, IPPROTO_SCTP);
}

// The kernel fills the structure; its size is all we need to say.
Result IoUring() {
  alignas(8) unsigned char parameters[120] = {};
  return From(::syscall(425 /* io_uring_setup */, 8, parameters) >= 0);
}

Result InheritedDescriptor() {
  for (int fd = 3; fd < 65536; ++fd) {
    if (::fcntl(fd, F_GETFD) >= 0) return Result::kGotThrough;
  }
  return Result::kRefused;
}
Result InheritedSocket() {
  for (int fd = 0; fd < 1024; ++fd) {
    struct stat st {};
    if (::fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode)) return Result::kGotThrough;
  }
  return Result::kRefused;
}

}  // namespace

const std::vector<Attack>& SocketAttacks() {
  static const std::vector<Attack> attacks = {
      {"unix-path", UnixPath},
      {"unix-abstract", UnixAbstract},
      {"unix-high-bits", UnixHighBits},
      {"unix-datagram", UnixDatagramSocket},
      {"socketpair-datagram", DatagramSocketPair},
      {"socketpair-high-bits", DatagramSocketPairHighBits},
      {"udp-dns", Udp},
      {"udp-lite", UdpLite},
      {"udp-high-bits", UdpHighBits},
      {"udp6", Udp6},
      {"raw", Raw},
      {"raw-icmp", RawIcmp},
      {"packet", Packet},
      {"vsock", Vsock},
      {"alg", Alg},
      {"netlink-uevent", NetlinkUevent},
      {"netlink-user", NetlinkUser},
      {"netlink-diag", NetlinkDiag},
      {"sctp", Sctp},
      {"io-uring", IoUring},
      {"inherited-socket", InheritedSocket},
      {"inherited-descriptor", InheritedDescriptor},
      {"raw-icmp6", Raw6},
      {"ping-socket", Ping},
      {"netlink-generic", NetlinkGeneric},
      {"netlink-netfilter", NetlinkNetfilter},
      {"netlink-audit", NetlinkAudit},
      {"netlink-connector", NetlinkConnector},
      {"other-families", OtherFamilies},
      {"change-interface", ChangeInterface},
      {"netlink-change-interface", ChangeInterfaceByNetlink},
      {"read-interfaces", ReadInterfaces},
      {"read-host-ports", ReadHostPorts},
  };
  return attacks;
}

}  // namespace writ::hostile
