#include "writ/workspace/merged_tree.h"

#include <dirent.h>
#include <fcntl.h>

#include <cerrno>
#include <memory>
#include <set>

#include "overlay_marks.h"
#include "writ/base/paths.h"
#include "writ/workspace/quoted_path.h"

namespace writ::workspace {
namespace {

constexpr int kFolderFlags = O_RDONLY | O_DIRECTORY | O_NONBLOCK;

Error NotThere(const std::string& path, int error) {
  return SysError(error, "workspace.read_failed", "cannot open '" + QuotePath(path) + "'");
}

Result<UniqueFd> OpenAt(int dir, const std::string& path, int flags) {
  if (!path.empty()) return OpenBeneath(dir, path, flags);
  UniqueFd fd(::openat(dir, ".", flags | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return NotThere(path, errno);
  return fd;
}

// False: `visit` does not want any more.
Result<bool> List(UniqueFd folder, const std::string& path,
                  const std::function<bool(const std::string&, const struct stat&)>& visit) {
  std::unique_ptr<DIR, int (*)(DIR*)> dir(::fdopendir(folder.get()), ::closedir);
  if (!dir) return NotThere(path, errno);
  (void)folder.release();
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(dir.get());
    if (entry == nullptr && errno != 0) return NotThere(path, errno);
    if (entry == nullptr) return true;
    const std::string name = entry->d_name;
    struct stat info {};
    if (name == "." || name == "..") continue;
    if (::fstatat(::dirfd(dir.get()), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (!visit(name, info)) return false;
  }
}

}  // namespace

Status MergedTree::ForEachIn(const std::string& path,
                             const std::function<bool(const std::string&, mode_t)>& visit) const {
  std::set<std::string> seen;  // of the upper layer, where there is a lower one
  bool covers = lower_ < 0;
  auto upper = OpenAt(upper_, path, kFolderFlags);
  if (upper) {
    if (lower_ >= 0) {
      struct stat info {};
      if (::fstat(upper->get(), &info) != 0) return NotThere(path, errno);
      WRIT_ASSIGN(Opacity opacity, ReadOverlayMarks(upper->get(), info, path, xattrs_));
      covers = opacity == Opacity::kOpaque;
    }
    WRIT_ASSIGN(bool more, List(std::move(*upper), path,
                                [&](const std::string& name, const struct stat& info) {
                                  if (lower_ >= 0) seen.insert(name);
                                  if (lower_ >= 0 && IsWhiteout(info)) return true;
                                  return visit(name, info.st_mode);
                                }));
    if (!more) return {};
  } else if (lower_ < 0 || upper.error().sys_errno != ENOENT) {
    return std::move(upper).error();
  }
  if (covers || (!path.empty() && IsHiddenBelow(upper_, path, xattrs_))) return {};
  auto lower = OpenAt(lower_, path, kFolderFlags);
  // A folder that is the upper layer's alone, beside or instead of something else in the lower one.
  if (!lower && seen.empty() && !upper) return std::move(lower).error();
  if (!lower) return {};
  WRIT_ASSIGN(bool more,
              List(std::move(*lower), path, [&](const std::string& name, const struct stat& info) {
                return seen.contains(name) || visit(name, info.st_mode);
              }));
  (void)more;
  return {};
}

Result<MergedTree::Opened> MergedTree::Open(const std::string& path, int flags) const {
  Opened out;
  auto upper = OpenBeneath(upper_, path, flags);
  if (upper) {
    out.fd = std::move(*upper);
    if (::fstat(out.fd.get(), &out.info) != 0) return NotThere(path, errno);
    if (lower_ >= 0 && IsWhiteout(out.info)) return NotThere(path, ENOENT);
    return out;
  }
  if (lower_ < 0 || upper.error().sys_errno != ENOENT || IsHiddenBelow(upper_, path, xattrs_))
    return std::move(upper).error();
  WRIT_ASSIGN(out.fd, OpenBeneath(lower_, path, flags));
  if (::fstat(out.fd.get(), &out.info) != 0) return NotThere(path, errno);
  out.origin = Origin::kBase;
  return out;
}

}  // namespace writ::workspace
