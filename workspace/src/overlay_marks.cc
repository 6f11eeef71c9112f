#include "overlay_marks.h"

#include <fcntl.h>
#include <sys/xattr.h>

#include <array>
#include <cerrno>
#include <string_view>

#include "writ/base/paths.h"
#include "writ/workspace/quoted_path.h"

namespace writ::workspace {
namespace {

constexpr std::size_t kMaxListBytes = 65536;  // the kernel's own bound

Error Forged(const std::string& path, std::string_view name) {
  return Error{.kind = ErrorKind::kIntegrity,
               .code = "workspace.overlay_forged",
               .message = "the upper layer bears '" + QuotePath(name) + "' at '" + QuotePath(path) +
                          "', which the mount never writes",
               .hint = "somebody wrote to the layer itself; the output is not to be trusted"};
}

// Harmless bookkeeping of the kernel: where a copy came from, that a folder holds copies, the
// mount's id, attributes that were protected.
bool IsBookkeeping(std::string_view mark) {
  constexpr std::array<std::string_view, 4> kNames = {"origin", "impure", "uuid", "protattr"};
  for (std::string_view name : kNames)
    if (mark == name) return true;
  return false;
}

}  // namespace

Result<Opacity> ReadOverlayMarks(int fd, const struct stat& st, const std::string& path,
                                 OverlayXattrs xattrs) {
  std::string_view prefix = xattrs == OverlayXattrs::kUser ? "user.overlay." : "trusted.overlay.";
  // By way of /proc: handles opened with O_PATH have no calls of their own for this.
  std::string by_handle = "/proc/self/fd/" + std::to_string(fd);
  ssize_t size = ::listxattr(by_handle.c_str(), nullptr, 0);
  if (size == 0 || (size < 0 && (errno == ENOTSUP || errno == EOPNOTSUPP))) return Opacity::kMerged;
  std::string names(kMaxListBytes, '\0');
  size = size < 0 ? size : ::listxattr(by_handle.c_str(), names.data(), names.size());
  if (size < 0)
    return SysError(errno, "workspace.read_failed",
                    "cannot read the attributes of '" + QuotePath(path) + "'");
  names.resize(static_cast<std::size_t>(size));
  Opacity opacity = Opacity::kMerged;
  for (std::size_t begin = 0; begin < names.size();) {
    std::string name(names.c_str() + begin);
    begin += name.size() + 1;
    if (!name.starts_with(prefix)) continue;
    std::string_view mark = std::string_view(name).substr(prefix.size());
    // "overlay.x": a name of the job's own, which the kernel escaped.
    if (IsBookkeeping(mark) || mark.starts_with("overlay.")) continue;
    if (mark != "opaque" || !S_ISDIR(st.st_mode)) return Forged(path, name);
    char value[2] = {};
    ssize_t length = ::getxattr(by_handle.c_str(), name.c_str(), value, sizeof value);
    if (length != 1 || value[0] != 'y') return Forged(path, name);
    opacity = Opacity::kOpaque;
  }
  return opacity;
}

bool IsHiddenBelow(int dir, const std::string& path, OverlayXattrs xattrs) {
  for (std::size_t end = 0; end != std::string::npos; end = path.find('/', end + 1)) {
    struct stat st {};
    Result<UniqueFd> folder =
        end == 0 ? Result<UniqueFd>(UniqueFd(::openat(dir, ".", O_PATH | O_DIRECTORY | O_CLOEXEC)))
                 : OpenBeneath(dir, path.substr(0, end), O_PATH);
    if (!folder) return folder.error().sys_errno != ENOENT;
    if (::fstat(folder->get(), &st) != 0 || !S_ISDIR(st.st_mode)) return true;
    auto opacity = ReadOverlayMarks(folder->get(), st, path.substr(0, end), xattrs);
    if (!opacity || *opacity == Opacity::kOpaque) return true;
  }
  return false;
}

}  // namespace writ::workspace
