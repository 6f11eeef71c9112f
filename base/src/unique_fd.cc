#include "writ/base/unique_fd.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace writ {

void UniqueFd::reset(int fd) {
  // close(2) on Linux releases the descriptor even when it reports EINTR: never retried.
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

Result<UniqueFd> UniqueFd::Duplicate() const {
  int fd = ::fcntl(fd_, F_DUPFD_CLOEXEC, 3);
  if (fd < 0) return SysError(errno, "base.dup_failed", "cannot duplicate a descriptor");
  return UniqueFd(fd);
}

Result<Pipe> MakePipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    return SysError(errno, "base.pipe_failed", "cannot make a pipe");
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

Result<SocketPair> MakeSeqpacketPair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return SysError(errno, "base.socketpair_failed", "cannot make a socket pair");
  return SocketPair{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

Result<UniqueFd> MakeSealedMemfd(const std::string& name, std::string_view bytes) {
  UniqueFd fd(::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return SysError(errno, "base.memfd_failed", "cannot make a memory file");
  std::size_t done = 0;
  while (done < bytes.size()) {
    ssize_t n = ::write(fd.get(), bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return SysError(errno, "base.memfd_failed", "cannot fill a memory file");
    done += static_cast<std::size_t>(n);
  }
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0)
    return SysError(errno, "base.memfd_failed", "cannot seal a memory file");
  if (::lseek(fd.get(), 0, SEEK_SET) != 0)
    return SysError(errno, "base.memfd_failed", "cannot rewind a memory file");
  return fd;
}

namespace {
constexpr std::size_t kMaxFdsPerMessage = 16;
}

Status SendWithFds(int socket, std::string_view bytes, const std::vector<int>& fds) {
  if (fds.size() > kMaxFdsPerMessage)
    return Error{ErrorKind::kInternal, "base.too_many_fds", "too many descriptors for one message"};
  iovec iov{const_cast<char*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxFdsPerMessage)] = {};
  msghdr message{};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    std::memcpy(CMSG_DATA(header), fds.data(), sizeof(int) * fds.size());
  }
  ssize_t n;
  do {
    n = ::sendmsg(socket, &message, MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return SysError(errno, "base.send_failed", "cannot send to the other process");
  if (static_cast<std::size_t>(n) != bytes.size())
    return Error{ErrorKind::kInternal, "base.send_failed",
                 "a message to the other process was cut short"};
  return {};
}

Result<ReceivedMessage> ReceiveWithFds(int socket, std::size_t limit) {
  ReceivedMessage received;
  received.bytes.resize(limit);
  iovec iov{received.bytes.data(), limit};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxFdsPerMessage)] = {};
  msghdr message{};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t n;
  do {
    n = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return SysError(errno, "base.receive_failed", "cannot receive from the other process");
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    std::vector<int> raw(count);
    std::memcpy(raw.data(), CMSG_DATA(header), count * sizeof(int));
    for (int fd : raw) received.fds.emplace_back(fd);
  }
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0)
    return Error{ErrorKind::kInvalid, "base.message_too_long",
                 "the other process sent a message over the limit"};
  received.bytes.resize(static_cast<std::size_t>(n));
  return received;
}

}  // namespace writ
