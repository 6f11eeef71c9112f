// Memory, descriptors, CPU and output.
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "glutton.h"

namespace writ::hostile {
namespace {

constexpr std::size_t kPiece = 1u << 20;

int MemoryBomb() {
  for (std::size_t done = 0; done < Enough(); done += kPiece) {
    void* piece =
        ::mmap(nullptr, kPiece, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (piece == MAP_FAILED) return 1;
    std::memset(piece, 'x', kPiece);
  }
  return 0;
}
// Files that live in memory belong to no process's own memory.
int MemoryFiles() {
  static char piece[kPiece];
  std::memset(piece, 'x', sizeof piece);
  for (std::size_t done = 0; done < Enough(); done += 16 * kPiece) {
    int fd = ::memfd_create("glutton", MFD_CLOEXEC);
    if (fd < 0) return 2;
    for (int i = 0; i < 16; ++i) {
      if (::write(fd, piece, sizeof piece) != static_cast<ssize_t>(sizeof piece)) return 1;
    }
  }
  return 0;
}
int SharedMemoryFile() {
  int fd = ::open("/dev/shm/writ-glutton", O_RDWR | O_CREAT | O_EXCL, 0600);
  if (fd < 0) return 1;
  ::unlink("/dev/shm/writ-glutton");
  return 0;
}
// A child that eats until it is ended; the first process goes on as if nothing were the matter.
int MemoryBombInChildren() {
  ::signal(SIGCHLD, SIG_IGN);
  for (int i = 0; i < 3; ++i) {
    if (::fork() == 0) ::_exit(MemoryBomb());
    ::sleep(1);
  }
  return AwaitTheEnd();
}
int Descriptors() {
  int most = 0;
  while (most < EnoughDescriptors()) {
    int fd = ::open("/dev/null", O_RDONLY);
    if (fd < 0) return errno == EMFILE ? 1 : 2;
    most = fd;
  }
  return 0;
}
// One message carries 253 copies of one descriptor at most.
int DescriptorsInFlight() {
  constexpr int kCopies = 253;
  int pair[2];
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (null < 0 || ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return 2;
  int copies[kCopies];
  for (int& copy : copies) copy = null;
  alignas(cmsghdr) static char control[CMSG_SPACE(sizeof copies)];
  for (int sent = 0; sent < 5 * EnoughDescriptors(); sent += kCopies) {
    char byte = 'f';
    iovec io{&byte, 1};
    msghdr message{};
    message.msg_iov = &io;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof copies);
    std::memcpy(CMSG_DATA(header), copies, sizeof copies);
    if (::sendmsg(pair[0], &message, MSG_DONTWAIT) == 1) continue;
    if (errno == ETOOMANYREFS) return 1;
    if (errno != EAGAIN || ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
      return 2;
    sent -= kCopies;
  }
  return 0;
}
int HoldDescriptorsInFlight() {
  if (DescriptorsInFlight() != 1) return 2;
  (void)!::write(1, "full\n", 5);
  return AwaitTheEnd();
}

// In several processes, so that it is not their descriptors that run out.
constexpr int kHands = 8;
constexpr int kInEachHand = 40;

// Calls `take` in children of ours that keep what they took until all have; the sum of what it
// says.
std::size_t TakenByHands(std::size_t (*take)()) {
  int told[2];
  int hold[2];
  if (::pipe2(told, O_CLOEXEC) != 0 || ::pipe2(hold, O_CLOEXEC) != 0) return 0;
  std::size_t sum = 0;
  for (int i = 0; i < kHands; ++i) {
    const pid_t pid = ::fork();
    if (pid < 0) break;
    if (pid == 0) {
      ::close(hold[1]);
      const std::size_t taken = take();
      (void)!::write(told[1], &taken, sizeof taken);
      char byte = 0;
      (void)!::read(hold[0], &byte, 1);  // until our parent lets go
      ::_exit(0);
    }
    std::size_t taken = 0;
    if (::read(told[0], &taken, sizeof taken) == static_cast<ssize_t>(sizeof taken)) sum += taken;
  }
  ::close(hold[1]);
  while (::wait(nullptr) > 0) continue;
  return sum;
}
int DescriptorsOfManyProcesses() {
  const std::size_t sum = TakenByHands([] {
    std::size_t taken = 0;
    while (taken < kInEachHand && ::open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0) ++taken;
    return taken;
  });
  return sum == kHands * kInEachHand ? 0 : 1;
}
int PseudoTerminals() {
  const std::size_t sum = TakenByHands([] {
    std::size_t taken = 0;
    while (taken < kInEachHand && ::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC) >= 0) ++taken;
    return taken;
  });
  return sum >= kHands * kInEachHand / 2 ? 0 : 1;
}

// What was sent to ourselves and is not received: the kernel's memory, not ours.
std::size_t FillSocketBuffers() {
  static char piece[kPiece];
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in here{};
  here.sin_family = AF_INET;
  here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof here;
  auto* address = reinterpret_cast<sockaddr*>(&here);
  if (::bind(listener, address, size) != 0 || ::listen(listener, 64) != 0 ||
      ::getsockname(listener, address, &size) != 0)
    return 0;
  std::size_t sum = 0;
  for (int i = 0; i < kInEachHand / 2; ++i) {
    const int sender = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (::connect(sender, address, size) != 0 || ::accept(listener, nullptr, nullptr) < 0) break;
    for (ssize_t sent = 0; (sent = ::send(sender, piece, sizeof piece, MSG_DONTWAIT)) > 0;)
      sum += static_cast<std::size_t>(sent);
  }
  return sum;
}
int SocketBuffers() {
  return TakenByHands(FillSocketBuffers) >= 96 * kPiece ? 0 : 1;
}
// Connects to the proxy without a socket to connect.
int PretendConnections() {
  const char* port = std::getenv("PORT");
  if (port == nullptr) return 2;
  sockaddr_in proxy{};
  proxy.sin_family = AF_INET;
  proxy.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  proxy.sin_port = htons(static_cast<std::uint16_t>(std::atoi(port)));
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return 2;
  for (int i = 0; i < 100; ++i)
    for (int fd : {99, 0, pair[0]})
      if (::connect(fd, reinterpret_cast<sockaddr*>(&proxy), sizeof proxy) == 0) return 0;
  return 1;
}
int FloodBothStreams() {
  static char piece[kPiece];
  std::memset(piece, 'x', sizeof piece);
  ::signal(SIGTERM, SIG_IGN);
  for (std::size_t done = 0; done < 4 * Enough(); done += 2 * kPiece) {
    if (::write(1, piece, sizeof piece) < 0 || ::write(2, piece, sizeof piece) < 0) return 1;
  }
  return 0;
}
int KillItself() {
  ::kill(::getpid(), SIGKILL);
  return 2;
}

}  // namespace

const std::vector<Glutton>& OtherGluttons() {
  static const std::vector<Glutton> gluttons = {
      {"memory-bomb", MemoryBomb},
      {"memory-files", MemoryFiles},
      {"shared-memory-file", SharedMemoryFile},
      {"memory-bomb-in-children", MemoryBombInChildren},
      {"descriptors", Descriptors},
      {"descriptors-of-many-processes", DescriptorsOfManyProcesses},
      {"descriptors-in-flight", DescriptorsInFlight},
      {"hold-descriptors-in-flight", HoldDescriptorsInFlight},
      {"pseudo-terminals", PseudoTerminals},
      {"pretend-connections", PretendConnections},
      {"socket-buffers", SocketBuffers},
      {"flood-both-streams", FloodBothStreams},
      {"kill-itself", KillItself},
  };
  return gluttons;
}

}  // namespace writ::hostile
