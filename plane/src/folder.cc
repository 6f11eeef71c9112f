#include "folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

namespace writ::plane {

Status ForEachName(int dir, const std::function<Status(const std::string&)>& visit) {
  int copy = ::openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (copy < 0) return SysError(errno, "blob.folder", "cannot read the blob folder");
  std::unique_ptr<DIR, int (*)(DIR*)> list(::fdopendir(copy), ::closedir);
  if (list == nullptr) {
    ::close(copy);
    return SysError(errno, "blob.folder", "cannot read the blob folder");
  }
  while (dirent* entry = ::readdir(list.get())) {
    std::string name = entry->d_name;
    if (name != "." && name != "..") WRIT_TRY(visit(name));
  }
  return {};
}

}  // namespace writ::plane
