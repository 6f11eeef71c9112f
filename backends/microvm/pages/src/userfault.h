// userfaultfd(2) ioctls, each as what came of it.
#pragma once

#include <cstdint>

namespace writ::backends::microvm::pages {

// `placed` bytes from the start on are there now, and those who waited for them were woken. `err`
// says why no more: 0 all is there, EAGAIN memory is being removed (or a part was placed: go on
// behind it), EEXIST the next page is there already, ENOENT nothing of ours is mapped there, ESRCH
// the process is gone, EFAULT the source cannot be read.
struct Placement {
  std::uint64_t placed = 0;
  int err = 0;
};
Placement PlaceCopy(int uffd, std::uint64_t address, const char* from, std::uint64_t bytes);
Placement PlaceZero(int uffd, std::uint64_t address, std::uint64_t bytes);
// Whoever waits there tries again.
void Wake(int uffd, std::uint64_t address, std::uint64_t bytes);

// Whether a descriptor from outside is a userfaultfd.
bool IsUserfault(int fd);

}  // namespace writ::backends::microvm::pages
