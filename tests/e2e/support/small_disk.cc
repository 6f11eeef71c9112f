#include "e2e/support/small_disk.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "writ/base/unique_fd.h"

namespace writ::test {

SmallDisk::SmallDisk(std::string path, std::uint64_t bytes) : path_(std::move(path)) {
  const std::string size = "mode=0711,size=" + std::to_string(bytes);
  if (geteuid() != 0) {
    why_not_ = "only root may mount a small disk";
  } else if (unshare(CLONE_NEWNS) != 0 ||
             mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
             mount("writ-small-disk", path_.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, size.c_str()) !=
                 0) {
    why_not_ = std::string("a small disk cannot be mounted here: ") + strerror(errno);
  }
}

SmallDisk::~SmallDisk() {
  if (why_not_.empty()) umount2(path_.c_str(), MNT_DETACH);
}

void SmallDisk::FillBut(std::uint64_t bytes) {
  UniqueFd fd(open((path_ + "/.filler").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  struct statvfs disk {};
  if (!fd || fstatvfs(fd.get(), &disk) != 0) std::abort();
  const std::uint64_t room = std::uint64_t{disk.f_bavail} * disk.f_frsize;
  if (room > bytes && posix_fallocate(fd.get(), 0, static_cast<off_t>(room - bytes)) != 0)
    std::abort();
}

void SmallDisk::Free() {
  unlink((path_ + "/.filler").c_str());
}

}  // namespace writ::test
