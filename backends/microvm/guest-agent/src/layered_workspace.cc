#include "layered_workspace.h"

#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "writ/base/paths.h"

namespace writ::backends::microvm {

Result<LayeredWorkspace> LayeredWorkspace::Mount(const std::vector<std::string>& trees,
                                                 const std::string& scratch) {
  const std::string upper = scratch + "/upper", work = scratch + "/work",
                    merged = scratch + "/workspace";
  std::string lower;
  struct stat st {};
  for (auto tree = trees.rbegin(); tree != trees.rend(); ++tree) {  // st: the highest one's
    if (::stat(tree->c_str(), &st) != 0 || !S_ISDIR(st.st_mode))
      return SysError(errno, "agent.workspace", "there is no base tree");
    lower = lower.empty() ? *tree : *tree + ":" + lower;
  }
  for (const std::string* dir : {&upper, &work, &merged}) WRIT_TRY(MakeDirectories(*dir, 0755));
  // The merged root has the upper one's owner and mode.
  if (::chown(upper.c_str(), st.st_uid, st.st_gid) != 0 || ::chmod(upper.c_str(), st.st_mode) != 0)
    return SysError(errno, "agent.workspace", "cannot make the upper layer");
  const std::string options = "lowerdir=" + lower + ",upperdir=" + upper + ",workdir=" + work +
                              ",redirect_dir=nofollow,metacopy=off,index=off,xino=off";
  if (::mount("overlay", merged.c_str(), "overlay", MS_NOSUID | MS_NODEV, options.c_str()) != 0)
    return SysError(errno, "agent.workspace", "cannot mount the workspace's layers");
  return LayeredWorkspace(merged, upper);
}

LayeredWorkspace::LayeredWorkspace(LayeredWorkspace&& other) noexcept
    : merged_(std::exchange(other.merged_, {})), upper_(std::move(other.upper_)) {}

LayeredWorkspace::~LayeredWorkspace() {
  if (!merged_.empty()) ::umount2(merged_.c_str(), MNT_DETACH);
}

Result<UniqueFd> LayeredWorkspace::OpenUpper() const {
  return OpenDirectory(upper_);
}

}  // namespace writ::backends::microvm
