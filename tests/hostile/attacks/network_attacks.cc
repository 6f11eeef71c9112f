// Ways to reach something other than the session's proxy over TCP.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <thread>

#include "attack.h"

namespace writ::hostile {
namespace {

constexpr int kMsgFastOpen = 0x20000000;
constexpr int kFastOpenConnect = 30;
constexpr int kMptcp = 262;
constexpr std::uint64_t kHighBit = 1ull << 32;

int Tcp() {
  return ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

// A refusal comes with the call itself, however slow the machine is. Only who is not answered at
// all is left to these.
constexpr int kPatienceMs = 2000;
bool unanswered = false;

bool Connects(int socket, const sockaddr_in& to) {
  const timeval patience{kPatienceMs / 1000, 0};
  ::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  const bool connected = ::connect(socket, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0;
  if (!connected && (errno == EINPROGRESS || errno == EAGAIN || errno == ETIMEDOUT))
    unanswered = true;
  return connected;
}
sockaddr_in Service() {
  return Ipv4("127.0.0.1", TargetNumber("TCP_PORT"));
}
sockaddr_in Proxy() {
  return Ipv4("127.0.0.1", TargetNumber("PROXY_PORT"));
}
sockaddr_in OtherAddress() {
  return Ipv4(Target("OTHER_ADDRESS").c_str(), TargetNumber("PROXY_PORT"));
}

Result OtherPort() {
  return From(Connects(Tcp(), Service()));
}
Result OtherAddressOnAllowedPort() {
  return From(Connects(Tcp(), OtherAddress()));
}

Result NonBlocking() {
  int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  const sockaddr_in to = Service();
  if (::connect(socket, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0)
    return Result::kGotThrough;
  if (errno != EINPROGRESS) return Result::kRefused;
  pollfd fd{socket, POLLOUT, 0};
  unanswered = ::poll(&fd, 1, kPatienceMs) == 0;
  int err = 0;
  socklen_t size = sizeof err;
  ::getsockopt(socket, SOL_SOCKET, SO_ERROR, &err, &size);
  return From(err == 0 && (fd.revents & POLLOUT) != 0);
}

Result Mptcp() {
  int socket = ::socket(AF_INET, SOCK_STREAM, kMptcp);
  if (socket < 0) return Result::kRefused;
  return From(Connects(socket, Service()));
}

Result SendToFastOpen() {
  sockaddr_in to = Service();
  return From(::sendto(Tcp(), "x", 1, kMsgFastOpen, reinterpret_cast<sockaddr*>(&to), sizeof to) ==
              1);
}

msghdr Message(sockaddr_in& to, iovec& iov) {
  static char byte = 'x';
  iov = {&byte, 1};
  msghdr message{};
  message.msg_name = &to;
  message.msg_namelen = sizeof to;
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  return message;
}

Result SendMsgFastOpen() {
  sockaddr_in to = Service();
  iovec iov{};
  msghdr message = Message(to, iov);
  return From(::sendmsg(Tcp(), &message, kMsgFastOpen) == 1);
}

Result SendMmsgFastOpen() {
  sockaddr_in to = Service();
  iovec iov{};
  mmsghdr messages[1] = {};
  messages[0].msg_hdr = Message(to, iov);
  return From(::sendmmsg(Tcp(), messages, 1, kMsgFastOpen) == 1);
}

// The flag with other bits of the register set, which the kernel ignores.
Result SendToFastOpenHighBits() {
  sockaddr_in to = Service();
  return From(::syscall(SYS_sendto, Tcp(), "x", 1,
                        kHighBit | static_cast<std::uint64_t>(kMsgFastOpen), &to, sizeof to) == 1);
}

Result ConnectThenWrite(int socket) {
  return From(Connects(socket, Service()) && ::write(socket, "x", 1) == 1);
}

Result FastOpenConnectOption() {
  int socket = Tcp();
  int on = 1;
  if (::setsockopt(socket, IPPROTO_TCP, kFastOpenConnect, &on, sizeof on) != 0)
    return Result::kRefused;
  return ConnectThenWrite(socket);
}

Result OptionHighBits(int level, int option, const void* value, socklen_t size) {
  return From(::syscall(SYS_setsockopt, Tcp(), kHighBit | static_cast<std::uint64_t>(level),
                        kHighBit | static_cast<std::uint64_t>(option), value, size) == 0);
}

Result FastOpenConnectOptionHighBits() {
  int on = 1;
  return OptionHighBits(IPPROTO_TCP, kFastOpenConnect, &on, sizeof on);
}

// IP options: bytes of the job's choosing in every packet, or (where the kernel lets it) a source
// route that sends what is meant for the proxy by way of another host. Record route is open to
// every uid.
constexpr unsigned char kRecordRoute[] = {7, 7, 4, 0, 0, 0, 0, 0};
Result IpOptions() {
  return From(::setsockopt(Tcp(), IPPROTO_IP, IP_OPTIONS, kRecordRoute, sizeof kRecordRoute) == 0);
}
Result IpOptionsHighBits() {
  return OptionHighBits(IPPROTO_IP, IP_OPTIONS, kRecordRoute, sizeof kRecordRoute);
}

Result Ipv6() {
  int socket = ::socket(AF_INET6, SOCK_STREAM, 0);
  if (socket < 0) return Result::kRefused;
  sockaddr_in6 to{};
  to.sin6_family = AF_INET6;
  to.sin6_addr = in6addr_loopback;
  to.sin6_port = htons(static_cast<std::uint16_t>(TargetNumber("TCP6_PORT")));
  if (TargetNumber("TCP6_PORT") == 0) return Result::kCannotTry;
  return From(::connect(socket, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0);
}

// The allowed connection, given up, then another one on the same socket.
Result DisconnectAndGoElsewhere() {
  int socket = Tcp();
  if (!Connects(socket, Proxy())) return Result::kCannotTry;
  sockaddr nothing{};
  nothing.sa_family = AF_UNSPEC;
  ::connect(socket, &nothing, sizeof nothing);
  return From(Connects(socket, Service()));
}

Result DuplicatedSocket() {
  int socket = ::dup(::dup(Tcp()));
  return From(Connects(socket, Service()));
}

Result ChildConnects() {
  pid_t pid = ::fork();
  if (pid == 0) ::_exit(Connects(Tcp(), Service()) ? 0 : 1);
  int status = 1;
  ::waitpid(pid, &status, 0);
  return From(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

Result ThreadConnects() {
  bool connected = false;
  std::thread([&connected] { connected = Connects(Tcp(), Service()); }).join();
  return From(connected);
}

// One thread connects, another one rewrites the address all the time: between the check and the use
// of a guard that looks at the job's memory twice, one of the many tries gets through.
Result RewriteAddressDuringConnect() {
  const sockaddr_in good = Proxy();
  const sockaddr_in bad = Service();
  static sockaddr_in shared;
  shared = good;
  std::atomic<bool> stop{false};
  std::thread rewriter([&] {
    volatile in_port_t* port = &shared.sin_port;
    while (!stop) {
      *port = bad.sin_port;
      *port = good.sin_port;
    }
  });
  const int tries = TargetNumber("TRIES");
  bool through = false;
  bool refused = false;
  // Until the rewriter had a turn at the right time, however busy the machine is; guarded, where a
  // refusal shows that it had, not much longer.
  const bool guarded = !Target("GUARDED").empty();
  const auto begun = std::chrono::steady_clock::now();
  const auto lasts = [&](int milliseconds) {
    return std::chrono::steady_clock::now() < begun + std::chrono::milliseconds(milliseconds);
  };
  for (int i = 0; !through && (i < tries || lasts(guarded && refused ? 800 : 30000)); ++i) {
    if (i % 16 == 0) ::usleep(50);  // the other one has a turn, and is stopped anywhere in it
    int socket = Tcp();
    const linger at_once{1, 0};  // thousands of them would use the ports up
    ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    if (Connects(socket, shared)) {
      sockaddr_in peer{};
      socklen_t size = sizeof peer;
      if (::getpeername(socket, reinterpret_cast<sockaddr*>(&peer), &size) == 0)
        through = peer.sin_port == bad.sin_port;
    } else {
      refused = true;
    }
    ::close(socket);
  }
  stop = true;
  rewriter.join();
  return From(through);
}

// Inbound instead of outbound: whoever can reach this host could talk to the job.
Result Listen() {
  int socket = Tcp();
  sockaddr_in any = Ipv4("0.0.0.0", 0);
  return From(::bind(socket, reinterpret_cast<sockaddr*>(&any), sizeof any) == 0 &&
              ::listen(socket, 1) == 0);
}
Result ListenWithoutBind() {
  return From(::listen(Tcp(), 1) == 0);
}

// A port that others take for a service of this host.
Result BindWellKnown() {
  sockaddr_in any = Ipv4("0.0.0.0", 80);
  return From(::bind(Tcp(), reinterpret_cast<sockaddr*>(&any), sizeof any) == 0);
}
Result DnsOverTcp() {
  return ConnectThenWrite(Tcp());
}

// A filter of the job's own whose listener the job answers itself, with "go on".
Result OwnNotificationListener() {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_connect, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog filter{4, program};
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  auto listener = static_cast<int>(
      ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter));
  if (listener < 0) return Result::kRefused;
  pid_t pid = ::fork();
  if (pid == 0) ::_exit(Connects(Tcp(), Service()) ? 0 : 1);
  seccomp_notif request{};
  if (::ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &request) == 0) {
    seccomp_notif_resp response{};
    response.id = request.id;
    response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    ::ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
  }
  int status = 1;
  ::waitpid(pid, &status, 0);
  return From(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

}  // namespace

bool LeftWaiting() {
  return unanswered;
}

const std::vector<Attack>& NetworkAttacks() {
  static const std::vector<Attack> attacks = {
      {"tcp-other-port", OtherPort},
      {"tcp-other-address", OtherAddressOnAllowedPort},
      {"tcp-nonblocking", NonBlocking},
      {"mptcp", Mptcp},
      {"fastopen-sendto", SendToFastOpen},
      {"fastopen-sendmsg", SendMsgFastOpen},
      {"fastopen-sendmmsg", SendMmsgFastOpen},
      {"fastopen-high-bits", SendToFastOpenHighBits},
      {"fastopen-option", FastOpenConnectOption},
      {"fastopen-option-high-bits", FastOpenConnectOptionHighBits},
      {"ip-options", IpOptions},
      {"ip-options-high-bits", IpOptionsHighBits},
      {"ipv6", Ipv6},
      {"disconnect-and-reconnect", DisconnectAndGoElsewhere},
      {"duplicated-socket", DuplicatedSocket},
      {"child-connects", ChildConnects},
      {"thread-connects", ThreadConnects},
      {"rewrite-address", RewriteAddressDuringConnect},
      {"listen", Listen},
      {"listen-without-bind", ListenWithoutBind},
      {"own-listener", OwnNotificationListener},
      {"bind-well-known", BindWellKnown},
      {"dns-tcp", DnsOverTcp},
  };
  return attacks;
}

}  // namespace writ::hostile
