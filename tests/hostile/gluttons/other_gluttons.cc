// Memory, descriptors, CPU and output.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
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
      {"flood-both-streams", FloodBothStreams},
      {"kill-itself", KillItself},
  };
  return gluttons;
}

}  // namespace writ::hostile
