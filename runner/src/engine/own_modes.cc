#include "writ/runner/own_modes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "writ/base/folder.h"
#include "writ/base/unique_fd.h"
#include "writ/runner/config.h"

namespace writ::runner {
namespace {

constexpr int kDeepest = 4;
// Whose content is many, other people's, or made anew: looked at themselves, not into.
constexpr std::array<std::string_view, 7> kBounds = {"work",  "images",  "sessions",  "trash",
                                                     "packs", "objects", "containers"};

class Walk {
 public:
  void Folder(const std::string& path, int depth) {
    UniqueFd handle(::open(path.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!handle || !Mend(handle.get(), path, 0700) || depth == 0) return;
    for (const std::string& name : NamesIn(handle.get()).value_or({})) {
      const std::string below = path + "/" + name;
      UniqueFd file(::openat(handle.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
      struct stat st {};
      if (!file || ::fstat(file.get(), &st) != 0) continue;
      if (S_ISDIR(st.st_mode)) {
        const bool bound = std::find(kBounds.begin(), kBounds.end(), name) != kBounds.end();
        Folder(below, bound ? 0 : depth - 1);
      } else if (S_ISREG(st.st_mode)) {
        const bool written = name.find(".db") != std::string::npos || name.ends_with(".lock");
        Mend(file.get(), below, written ? 0600 : 0400);
      }
    }
  }
  std::vector<std::string> Take() { return std::move(mended_); }

 private:
  // Whether it is ours and has `needed` now.
  bool Mend(int handle, const std::string& path, mode_t needed) {
    struct stat st {};
    if (::fstat(handle, &st) != 0 || st.st_uid != ::geteuid()) return false;
    if ((st.st_mode & needed) == needed) return true;
    // A handle opened with O_PATH has no call of its own for this.
    const std::string by_handle = "/proc/self/fd/" + std::to_string(handle);
    if (::chmod(by_handle.c_str(), (st.st_mode & 07777) | needed | 0600) != 0) return false;
    mended_.push_back(path);
    return true;
  }
  std::vector<std::string> mended_;
};

}  // namespace

std::vector<std::string> MendOwnModes(const std::string& dir) {
  Walk walk;
  walk.Folder(dir, kDeepest);
  return walk.Take();
}

std::vector<std::string> MendOwnModes(const RunnerConfig& config) {
  Walk walk;
  for (const std::string& dir : config.private_dirs) walk.Folder(dir, kDeepest);
  walk.Folder(config.state_dir, kDeepest);
  walk.Folder(config.work_dir, 2);
  return walk.Take();
}

}  // namespace writ::runner
