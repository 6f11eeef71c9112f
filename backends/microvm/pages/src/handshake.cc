#include "handshake.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "userfault.h"
#include "writ/base/unix_socket.h"

namespace writ::backends::microvm::pages {
namespace {

constexpr int kPeerPidfd = 77;       // SO_PEERPIDFD, 6.5
constexpr std::size_t kMaxFds = 16;  // taken, so that they can be closed
constexpr int kStrangers = 8;        // connections of others before we give up

Error Refused(ErrorKind kind, std::string code, std::string message) {
  return Error{kind, std::move(code), std::move(message)};
}

Error CannotRead(int err) {
  return SysError(err, "pages.handshake", "a VMM's handshake cannot be read");
}

int IntOption(int socket, int option) {
  int value = -1;
  socklen_t size = sizeof value;
  return ::getsockopt(socket, SOL_SOCKET, option, &value, &size) == 0 ? value : -1;
}

Status WaitFor(int socket, const StopSign& stop) {
  for (;;) {
    if (stop.said.load(std::memory_order_relaxed))
      return Refused(ErrorKind::kCancelled, "pages.stopped", "the clone is over");
    pollfd fds[] = {{socket, POLLIN, 0}, {stop.wake.get(), POLLIN, 0}};
    if (::poll(fds, 2, -1) > 0 && fds[0].revents != 0) return {};
  }
}

struct Message {
  std::string bytes;
  std::vector<UniqueFd> fds;
  std::optional<ucred> sender;
};

void TakeControl(const msghdr& message, Message& out) {
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(const_cast<msghdr*>(&message), header)) {
    if (header->cmsg_level != SOL_SOCKET) continue;
    if (header->cmsg_type == SCM_RIGHTS) {
      const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (std::size_t i = 0; i < count; ++i) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
        out.fds.emplace_back(fd);
      }
    } else if (header->cmsg_type == SCM_CREDENTIALS) {
      ucred sender{};
      std::memcpy(&sender, CMSG_DATA(header), sizeof sender);
      out.sender = sender;
    }
  }
}

Result<Message> ReadMessage(int stream, const StopSign& stop) {
  for (;;) {
    WRIT_TRY(WaitFor(stream, stop));
    Message out;
    out.bytes.resize(kMaxHandshakeBytes + 1);
    iovec iov{out.bytes.data(), out.bytes.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxFds) + CMSG_SPACE(sizeof(ucred))];
    msghdr message{};
    message.msg_iov = &iov;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t n = ::recvmsg(stream, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) return CannotRead(errno);
    TakeControl(message, out);
    out.bytes.resize(static_cast<std::size_t>(n));
    if (n == 0)
      return Refused(ErrorKind::kInvalid, "pages.handshake",
                     "the VMM went before it showed its memory");
    if (out.bytes.size() > kMaxHandshakeBytes || (message.msg_flags & MSG_CTRUNC) != 0 ||
        out.fds.size() != 1)
      return Refused(ErrorKind::kInvalid, "pages.handshake",
                     "the handshake is not one message of at most 16 KiB with one descriptor");
    return out;
  }
}

// One connection of the VMM's uid; the listener is closed after it.
Result<UniqueFd> Accept(UniqueFd listener, uid_t uid, const StopSign& stop) {
  for (int strangers = 0; strangers < kStrangers;) {
    WRIT_TRY(WaitFor(listener.get(), stop));
    UniqueFd stream(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!stream && (errno == EINTR || errno == EAGAIN || errno == ECONNABORTED)) continue;
    if (!stream) return CannotRead(errno);
    auto peer = PeerOf(stream.get());
    if (peer && peer->uid == uid) return stream;
    ++strangers;
  }
  return Refused(ErrorKind::kDenied, "pages.peer", "others than the VMM keep connecting");
}

UniqueFd PidfdOf(pid_t pid) {
  return UniqueFd(pid > 0 ? static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)) : -1);
}

}  // namespace

Status PrepareSocket(Serve::By by, int socket) {
  const bool listens = by == Serve::By::kListener;
  if (IntOption(socket, SO_DOMAIN) != AF_UNIX || IntOption(socket, SO_TYPE) != SOCK_STREAM ||
      IntOption(socket, SO_ACCEPTCONN) != (listens ? 1 : 0))
    return Refused(ErrorKind::kInvalid, "pages.socket",
                   "what was handed in to serve on is not such a Unix stream socket");
  const int on = 1;
  if (!listens && ::setsockopt(socket, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0)
    return SysError(errno, "pages.socket", "cannot ask who speaks on a socket");
  return {};
}

Result<Shaken> ShakeHands(Serve::By by, UniqueFd socket, uid_t uid, std::uint64_t memory_bytes,
                          const StopSign& stop) {
  Shaken out;
  if (by == Serve::By::kListener) {
    WRIT_ASSIGN(socket, Accept(std::move(socket), uid, stop));
  }
  WRIT_ASSIGN(Message message, ReadMessage(socket.get(), stop));
  if (by == Serve::By::kListener) {
    WRIT_ASSIGN(const PeerIdentity peer, PeerOf(socket.get()));
    out.pid = peer.pid;
    out.pidfd.reset(IntOption(socket.get(), kPeerPidfd));
    if (!out.pidfd) out.pidfd = PidfdOf(out.pid);
  } else {
    if (!message.sender || message.sender->uid != uid)
      return Refused(ErrorKind::kDenied, "pages.peer",
                     "the handshake does not come from the VMM's uid");
    out.pid = message.sender->pid;
    out.pidfd = PidfdOf(out.pid);
    // It waits for our byte: while it does, its pid is its own.
    char more = 0;
    if (::recv(socket.get(), &more, 1, MSG_PEEK | MSG_DONTWAIT) >= 0)
      return Refused(ErrorKind::kInvalid, "pages.handshake",
                     "the VMM does not wait after its handshake");
    out.stream = std::move(socket);
  }
  if (!IsUserfault(message.fds[0].get()))
    return Refused(ErrorKind::kInvalid, "pages.handshake",
                   "the descriptor of the handshake is no userfaultfd");
  WRIT_ASSIGN(out.regions, GuestRegions::Parse(message.bytes, memory_bytes));
  out.uffd = std::move(message.fds[0]);
  return out;
}

Status SayGo(int stream) {
  if (::send(stream, "1", 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1)
    return SysError(errno, "pages.handshake", "the VMM went during the handshake");
  return {};
}

}  // namespace writ::backends::microvm::pages
