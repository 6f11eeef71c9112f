#include "writ/base/folder.h"

#include <dirent.h>
#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "writ/base/unique_fd.h"

namespace writ {

Result<std::vector<std::string>> NamesIn(int dir, std::string_view code) {
  const auto failed = [&] { return SysError(errno, std::string(code), "cannot list a folder"); };
  UniqueFd own(::openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  std::unique_ptr<DIR, int (*)(DIR*)> list(own ? ::fdopendir(own.get()) : nullptr, ::closedir);
  if (list == nullptr) return failed();
  (void)own.release();
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(list.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
    errno = 0;
  }
  if (errno != 0) return failed();
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace writ
