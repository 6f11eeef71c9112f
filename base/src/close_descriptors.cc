#include "writ/base/close_descriptors.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <string_view>
#include <vector>

namespace writ {
namespace {

Result<std::vector<int>> OpenDescriptors(unsigned first, unsigned last) {
  DIR* dir = ::opendir("/proc/self/fd");
  if (dir == nullptr)
    return SysError(errno, "base.close_range", "cannot see which descriptors are open");
  std::vector<int> open;
  while (const dirent* entry = ::readdir(dir)) {
    const std::string_view name(entry->d_name);
    int fd = -1;
    auto [end, err] = std::from_chars(name.data(), name.data() + name.size(), fd);
    if (err != std::errc() || fd < 0 || fd == ::dirfd(dir)) continue;
    const auto number = static_cast<unsigned>(fd);
    if (number >= first && number <= last) open.push_back(fd);
  }
  ::closedir(dir);
  return open;
}

bool LacksCloseRange(int err) {
  return err == ENOSYS || err == EINVAL;  // EINVAL: it knows no O_CLOEXEC
}

}  // namespace

Status CloseDescriptors(unsigned first, unsigned last) {
  if (::syscall(SYS_close_range, first, last, 0) == 0) return {};
  if (!LacksCloseRange(errno))
    return SysError(errno, "base.close_range", "cannot close descriptors");
  WRIT_ASSIGN(std::vector<int> open, OpenDescriptors(first, last));
  for (int fd : open) ::close(fd);
  return {};
}

Status CloseDescriptorsOnExec(unsigned first, unsigned last) {
  if (::syscall(SYS_close_range, first, last, CLOSE_RANGE_CLOEXEC) == 0) return {};
  if (!LacksCloseRange(errno))
    return SysError(errno, "base.close_range", "cannot keep descriptors from a program");
  WRIT_ASSIGN(std::vector<int> open, OpenDescriptors(first, last));
  for (int fd : open) {
    if (::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 && errno != EBADF)
      return SysError(errno, "base.close_range", "cannot keep a descriptor from a program");
  }
  return {};
}

void RaiseDescriptorLimit() {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = files.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &files);
}

}  // namespace writ
