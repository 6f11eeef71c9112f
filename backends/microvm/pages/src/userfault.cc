#include "userfault.h"

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <string_view>

namespace writ::backends::microvm::pages {
namespace {

// What the kernel wrote back is bytes or a negative errno; the field is 0 where it wrote nothing.
Placement Came(int result, int err, std::int64_t written, std::uint64_t bytes) {
  if (result == 0) return {bytes, 0};
  if (written > 0) return {static_cast<std::uint64_t>(written), EAGAIN};
  if (written < 0) err = static_cast<int>(-written);
  return {0, err};
}

}  // namespace

Placement PlaceCopy(int uffd, std::uint64_t address, const char* from, std::uint64_t bytes) {
  uffdio_copy copy{};
  copy.dst = address;
  copy.src = reinterpret_cast<std::uint64_t>(from);
  copy.len = bytes;
  const int result = ::ioctl(uffd, UFFDIO_COPY, &copy);
  return Came(result, errno, copy.copy, bytes);
}

Placement PlaceZero(int uffd, std::uint64_t address, std::uint64_t bytes) {
  uffdio_zeropage zero{};
  zero.range = {address, bytes};
  const int result = ::ioctl(uffd, UFFDIO_ZEROPAGE, &zero);
  return Came(result, errno, zero.zeropage, bytes);
}

void Wake(int uffd, std::uint64_t address, std::uint64_t bytes) {
  uffdio_range range{address, bytes};
  (void)::ioctl(uffd, UFFDIO_WAKE, &range);
}

bool IsUserfault(int fd) {
  char name[64];
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t size = ::readlink(link.c_str(), name, sizeof name);
  // A file's name begins with a slash: no file can be called so.
  return size > 0 &&
         std::string_view(name, static_cast<std::size_t>(size)) == "anon_inode:[userfaultfd]";
}

}  // namespace writ::backends::microvm::pages
