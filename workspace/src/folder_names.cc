#include "folder_names.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "writ/base/paths.h"
#include "writ/workspace/quoted_path.h"

namespace writ::workspace {

Result<std::vector<FolderName>> NamesInFolder(int root, const std::string& folder) {
  UniqueFd fd;
  if (folder.empty()) {
    fd.reset(::openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  } else {
    WRIT_ASSIGN(fd, OpenBeneath(root, folder, O_RDONLY | O_DIRECTORY));
  }
  std::unique_ptr<DIR, int (*)(DIR*)> stream(fd ? ::fdopendir(fd.get()) : nullptr, ::closedir);
  if (!stream)
    return SysError(errno, "workspace.read_failed", "cannot list '" + QuotePath(folder) + "'");
  (void)fd.release();
  std::vector<FolderName> names;
  errno = 0;
  while (dirent* entry = ::readdir(stream.get())) {
    std::string name = entry->d_name;
    bool is_folder = entry->d_type == DT_DIR;
    if (entry->d_type == DT_UNKNOWN) {
      struct stat st {};
      is_folder = ::fstatat(::dirfd(stream.get()), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                  S_ISDIR(st.st_mode);
    }
    if (name != "." && name != "..") names.push_back({std::move(name), is_folder});
    errno = 0;
  }
  if (errno != 0)
    return SysError(errno, "workspace.read_failed", "cannot list '" + QuotePath(folder) + "'");
  std::sort(names.begin(), names.end(),
            [](const FolderName& a, const FolderName& b) { return a.text < b.text; });
  return names;
}

}  // namespace writ::workspace
