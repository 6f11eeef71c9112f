// Filling a disk where a meter might not look: no name, no descriptor, another thread's table, a
// socket's queue, a directory that may not be read, very deep, very many, or only on paper.
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

#include "glutton.h"

namespace writ::hostile {
namespace {

constexpr std::size_t kPiece = 1u << 20;

std::string InTmp(const char* name) {
  const char* tmp = std::getenv("TMPDIR");
  return std::string(tmp == nullptr ? "." : tmp) + "/" + name;
}

// Slowly enough that the disk of the host is never in danger, fast enough to be over at once.
bool Fill(int fd, std::size_t bytes) {
  static char piece[kPiece];
  std::memset(piece, 'x', sizeof piece);
  for (std::size_t done = 0; done < bytes; done += kPiece) {
    if (::write(fd, piece, sizeof piece) != static_cast<ssize_t>(sizeof piece)) return false;
    ::usleep(2000);
  }
  return true;
}
int Filled(int fd) {
  return Fill(fd, Enough()) ? AwaitTheEnd() : 1;
}
int Make(const std::string& path) {
  return ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
}
int Nameless(const char* name) {
  int fd = Make(InTmp(name));
  ::unlink(InTmp(name).c_str());
  return fd;
}

int OneFile() {
  return Filled(Make("big"));
}
int DeletedOpen() {
  return Filled(Nameless("deleted"));
}
int NeverNamed() {
  int fd = ::open(InTmp("").c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0) return std::getenv("GUARDED") != nullptr ? 1 : 2;
  return Filled(fd);
}
// No descriptor is left, only a mapping.
int DeletedMapped() {
  int fd = Nameless("mapped");
  if (::ftruncate(fd, Enough()) != 0) return 2;
  auto* bytes =
      static_cast<char*>(::mmap(nullptr, Enough(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  ::close(fd);
  if (bytes == MAP_FAILED) return 2;
  for (std::size_t at = 0; at < Enough(); at += kPiece) {
    std::memset(bytes + at, 'x', kPiece);
    ::usleep(2000);
  }
  return AwaitTheEnd();
}
// The only descriptor of each file waits in a socket's queue.
int DeletedInFlight() {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) return 2;
  for (std::size_t done = 0; done < Enough(); done += 8 * kPiece) {
    int fd = Nameless("flying");
    if (!Fill(fd, 8 * kPiece)) return 1;
    char byte = 'f';
    iovec data{&byte, 1};
    alignas(cmsghdr) char space[CMSG_SPACE(sizeof fd)] = {};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = space;
    message.msg_controllen = sizeof space;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
    if (::sendmsg(pair[0], &message, 0) != 1) return 2;
    ::close(fd);
  }
  return AwaitTheEnd();
}
// A thread whose descriptors are not the process's; the first thread has ended.
int DeletedInThread() {
  std::thread([] {
    if (::unshare(CLONE_FILES) != 0) ::_exit(2);
    ::_exit(Filled(Nameless("thread")));
  }).detach();
  ::pthread_exit(nullptr);
}
int ClosedDirectory() {
  ::mkdir("closed", 0700);
  int fd = Make("closed/big");
  ::chmod("closed", 0);
  return Filled(fd);
}
int DeepTree() {
  for (int depth = 0; depth < 3000; ++depth) {
    if (::mkdir("d", 0700) != 0 || ::chdir("d") != 0) return 2;
  }
  return Filled(Make("big"));
}
int ManySmallFiles() {
  for (int i = 0; i < EnoughFiles(); ++i) {
    int fd = Make("f" + std::to_string(i));
    if (fd < 0) return 1;
    ::close(fd);
  }
  return AwaitTheEnd();
}
// Large on paper only: allowed.
int Sparse() {
  int fd = Make("sparse");
  return ::ftruncate(fd, 1ll << 34) == 0 && ::pwrite(fd, "x", 1, (1ll << 34) - 1) == 1 ? 0 : 1;
}

// Places that lie in memory where a job has a view of its own.
std::string InHome(const char* name) {
  const char* home = std::getenv("HOME");
  return std::string(home == nullptr ? "." : home) + "/" + name;
}
int FillAt(const std::string& path) {
  return Filled(Make(path));
}
int CrowdAt(const std::string& path) {
  for (int i = 0; i < EnoughFiles(); ++i) {
    int fd = Make(path + std::to_string(i));
    if (fd < 0) return 1;
    ::close(fd);
  }
  return AwaitTheEnd();
}
int FillHome() {
  return FillAt(InHome("big"));
}
int CrowdHome() {
  return CrowdAt(InHome("f"));
}
int FillSharedMemory() {
  return FillAt("/dev/shm/big");
}
int CrowdSharedMemory() {
  return CrowdAt("/dev/shm/f");
}

}  // namespace

const std::vector<Glutton>& DiskGluttons() {
  static const std::vector<Glutton> gluttons = {
      {"one-file", OneFile},
      {"deleted-open", DeletedOpen},
      {"never-named", NeverNamed},
      {"deleted-mapped", DeletedMapped},
      {"deleted-in-flight", DeletedInFlight},
      {"deleted-in-thread", DeletedInThread},
      {"closed-directory", ClosedDirectory},
      {"deep-tree", DeepTree},
      {"many-small-files", ManySmallFiles},
      {"sparse", Sparse},
      {"fill-home", FillHome},
      {"crowd-home", CrowdHome},
      {"fill-shared-memory", FillSharedMemory},
      {"crowd-shared-memory", CrowdSharedMemory},
  };
  return gluttons;
}

}  // namespace writ::hostile
