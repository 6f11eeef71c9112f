// libwrit-uffd.so: lets a VMM that knows nothing of userfaultfd have its guest's memory served.
//
// Loaded into QEMU by LD_PRELOAD. Watches mmap for the mapping that is the guest's RAM - the one of
// WRIT_UFFD_RAM_BYTES bytes that is put at a fixed, writable place -, registers it with a
// userfaultfd, and shows it to the page server in Firecracker's words over the socket
// WRIT_UFFD_FD; after one byte of answer the VMM goes on. RAM must be anonymous
// (memory-backend-ram), or removed pages are not told of.
//   WRIT_UFFD_FD          descriptor of a stream socket, inherited
//   WRIT_UFFD_RAM_BYTES   size of the guest's RAM
//   WRIT_UFFD_DEVICE_FD   descriptor of /dev/userfaultfd, inherited, closed once it has been used;
//                         may be absent: then the system call is tried, and then the device by its
//                         path
// Without the first two it does nothing. What goes wrong ends the VMM, with a sentence: it would
// run with empty memory. The userfaultfd stays open as long as the VMM runs: when the page server
// dies, pages that are not there yet block their readers instead of turning into zeros.
// Plain C library calls only: it is loaded before anything of the VMM runs.
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

constexpr int kFlags = O_CLOEXEC | O_NONBLOCK;
constexpr unsigned long long kPageBytes = 4096;

bool served = false;  // guest RAM is mapped once, before there is a second thread

[[noreturn]] void Die(const char* what) {
  dprintf(2, "libwrit-uffd: %s: %s\n", what, strerror(errno));
  _exit(1);
}

// A number of the environment; -1 where there is none.
long long Number(const char* name) {
  const char* text = getenv(name);
  if (text == nullptr || *text == '\0') return -1;
  char* end = nullptr;
  const long long value = strtoll(text, &end, 10);
  return *end == '\0' && value >= 0 ? value : -1;
}

int NewUserfault() {
  const long long given = Number("WRIT_UFFD_DEVICE_FD");
  if (given >= 0) {
    const int made = ioctl(static_cast<int>(given), USERFAULTFD_IOC_NEW, kFlags);
    // Before any of the guest runs: who takes the VMM over finds no way to make more.
    if (made >= 0) close(static_cast<int>(given));
    return made;
  }
  const int uffd = static_cast<int>(syscall(SYS_userfaultfd, kFlags));
  if (uffd >= 0) return uffd;
  const int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
  if (device < 0) return -1;
  const int made = ioctl(device, USERFAULTFD_IOC_NEW, kFlags);
  close(device);
  return made;
}

void SendHandshake(int socket, int uffd, void* address, size_t bytes) {
  char text[256];
  const int size = snprintf(text, sizeof text,
                            "[{\"base_host_virt_addr\":%llu,\"size\":%llu,\"offset\":0,"
                            "\"page_size\":%llu}]",
                            static_cast<unsigned long long>(reinterpret_cast<size_t>(address)),
                            static_cast<unsigned long long>(bytes), kPageBytes);
  iovec iov{text, static_cast<size_t>(size)};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(header), &uffd, sizeof uffd);
  if (sendmsg(socket, &message, MSG_NOSIGNAL) != size) Die("the page server cannot be told");
  char answer = 0;
  ssize_t n = 0;
  do {
    n = recv(socket, &answer, 1, 0);
  } while (n < 0 && errno == EINTR);
  if (n == 0) errno = ECONNREFUSED;
  if (n != 1) Die("the page server does not serve this memory");
}

void HandOver(void* address, size_t bytes, int socket) {
  served = true;
  const int uffd = NewUserfault();
  if (uffd < 0) Die("no userfaultfd for faults of the kernel can be made");
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = UFFD_FEATURE_EVENT_REMOVE;
  if (ioctl(uffd, UFFDIO_API, &api) != 0) Die("the userfaultfd does not tell of removed memory");
  uffdio_register range{};
  range.range.start = reinterpret_cast<size_t>(address);
  range.range.len = bytes;
  range.mode = UFFDIO_REGISTER_MODE_MISSING;
  if (ioctl(uffd, UFFDIO_REGISTER, &range) != 0) Die("guest memory cannot be registered");
  SendHandshake(socket, uffd, address, bytes);
  close(socket);
}

void* Map(void* address, size_t bytes, int protection, int flags, int fd, off_t offset) {
  const long result = syscall(SYS_mmap, address, bytes, protection, flags, fd, offset);
  if (result == -1) return MAP_FAILED;
  void* mapped = reinterpret_cast<void*>(result);
  if (served || (flags & MAP_FIXED) == 0 || (protection & PROT_WRITE) == 0) return mapped;
  const long long socket = Number("WRIT_UFFD_FD");
  const long long ram = Number("WRIT_UFFD_RAM_BYTES");
  if (socket >= 0 && ram > 0 && bytes == static_cast<unsigned long long>(ram))
    HandOver(mapped, bytes, static_cast<int>(socket));
  return mapped;
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) void* mmap(void* address, size_t bytes, int protection,
                                                  int flags, int fd, off_t offset) noexcept {
  return Map(address, bytes, protection, flags, fd, offset);
}

__attribute__((visibility("default"))) void* mmap64(void* address, size_t bytes, int protection,
                                                    int flags, int fd, off64_t offset) noexcept {
  return Map(address, bytes, protection, flags, fd, offset);
}

}  // extern "C"
