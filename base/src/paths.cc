#include "writ/base/paths.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

namespace writ {
namespace {

std::vector<std::string> Components(std::string_view path) {
  std::vector<std::string> parts;
  std::size_t pos = 0;
  while (pos <= path.size()) {
    std::size_t slash = path.find('/', pos);
    if (slash == std::string_view::npos) slash = path.size();
    parts.emplace_back(path.substr(pos, slash - pos));
    pos = slash + 1;
  }
  return parts;
}

Error BadPath(std::string_view path, int err) {
  Error error = SysError(err, "path.not_beneath",
                         "cannot open '" + std::string(path) + "' beneath its directory");
  if (err == ELOOP || err == EXDEV) {
    error.kind = ErrorKind::kInvalid;
    error.hint = "a symbolic link or '..' on the way is refused";
  }
  return error;
}

Result<UniqueFd> WalkBeneath(int dir, std::string_view path, int flags, mode_t mode) {
  std::vector<std::string> parts = Components(path);
  UniqueFd current(::openat(dir, ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!current) return BadPath(path, errno);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].empty() || parts[i] == "..") return BadPath(path, EXDEV);
    bool last = i + 1 == parts.size();
    int part_flags =
        last ? flags | O_NOFOLLOW | O_CLOEXEC : O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    UniqueFd next(::openat(current.get(), parts[i].c_str(), part_flags, last ? mode : 0));
    if (!next) return BadPath(path, errno == ENOTDIR && !last ? ELOOP : errno);
    current = std::move(next);
  }
  return current;
}

}  // namespace

Result<UniqueFd> OpenBeneath(int dir, std::string_view path, int flags, mode_t mode) {
  if (path.empty() || path.front() == '/' || path.find('\0') != std::string_view::npos)
    return BadPath(path, EXDEV);
  std::string text(path);
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC | O_NOFOLLOW);
  if ((flags & (O_CREAT | O_TMPFILE)) != 0) how.mode = mode;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  for (int attempt = 0; attempt < 16; ++attempt) {
    int fd = static_cast<int>(::syscall(SYS_openat2, dir, text.c_str(), &how, sizeof how));
    if (fd >= 0) return UniqueFd(fd);
    if (errno == ENOSYS) return WalkBeneath(dir, path, flags, mode);
    if (errno != EAGAIN && errno != EINTR)
      return BadPath(path, errno);  // EAGAIN: a rename raced with us
  }
  return BadPath(path, EAGAIN);
}

Result<UniqueFd> OpenDirectory(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return SysError(errno, "path.open_failed", "cannot open the directory " + path);
  return fd;
}

Result<UniqueFd> MakeDirectoriesBeneath(int dir, std::string_view path, mode_t mode) {
  UniqueFd current(::openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!current) return BadPath(path, errno);
  for (const std::string& part : Components(path)) {
    if (part.empty() || part == "." || part == "..") return BadPath(path, EXDEV);
    if (::mkdirat(current.get(), part.c_str(), mode) != 0 && errno != EEXIST)
      return SysError(errno, "path.mkdir_failed",
                      "cannot make the directory '" + std::string(path) + "'");
    UniqueFd next(
        ::openat(current.get(), part.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!next) return BadPath(path, errno == ENOTDIR ? ELOOP : errno);
    current = std::move(next);
  }
  return current;
}

Result<UniqueFd> MakeDirectories(const std::string& path, mode_t mode) {
  std::string so_far;
  for (const std::string& part : Components(path)) {
    so_far += part;
    if (!part.empty() && ::mkdir(so_far.c_str(), mode) != 0 && errno != EEXIST)
      return SysError(errno, "path.mkdir_failed", "cannot make the directory " + so_far);
    so_far += '/';
  }
  return OpenDirectory(path);
}

namespace {

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

// An explicit stack, not recursion: a hostile tree may be deeper than our stack. Each level holds
// one descriptor; past kMaxOpenLevels the tree is re-rooted by renaming the deep part upwards.
class TreeRemover {
 public:
  TreeRemover(int root_parent, dev_t device) : root_parent_(root_parent), device_(device) {}

  void Remove(const std::string& name) {
    pending_.push_back(name);
    while (!pending_.empty()) {
      std::string next = std::move(pending_.back());
      pending_.pop_back();
      RemoveOne(root_parent_, next, 0);
    }
  }
  Status TakeStatus() && { return first_error_ ? Status(std::move(*first_error_)) : Status(); }

 private:
  static constexpr int kMaxOpenLevels = 256;

  void Note(int err, const std::string& name) {
    if (first_error_) return;
    first_error_ = std::make_unique<Error>(
        SysError(err, "path.remove_failed", "cannot remove '" + name + "'"));
  }

  static void ClearFlags(int fd) {
    unsigned flags = 0;
    if (::ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0) return;
    unsigned cleared = flags & ~static_cast<unsigned>(FS_IMMUTABLE_FL | FS_APPEND_FL);
    if (cleared != flags) (void)::ioctl(fd, FS_IOC_SETFLAGS, &cleared);
  }

  // To the top, to be removed later from there. A name that is taken - by a removal that was
  // killed, or one beside this - is left alone.
  void MoveUp(int parent, const std::string& name) {
    constexpr int kAttempts = 1000;
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      std::string moved =
          ".writ-rm-" + std::to_string(::getpid()) + "-" + std::to_string(counter_++);
      if (::renameat(parent, name.c_str(), root_parent_, moved.c_str()) == 0)
        return pending_.push_back(std::move(moved));
      if (errno != EEXIST && errno != ENOTEMPTY && errno != ENOTDIR) break;
    }
    Note(errno, name);
  }

  void RemoveOne(int parent, const std::string& name, int level) {
    struct stat st {};
    if (::fstatat(parent, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno != ENOENT) Note(errno, name);
      return;
    }
    if (!S_ISDIR(st.st_mode)) {
      if (::unlinkat(parent, name.c_str(), 0) == 0 || errno == ENOENT) return;
      UniqueFd fd(::openat(parent, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
      if (fd) ClearFlags(fd.get());
      if (::unlinkat(parent, name.c_str(), 0) != 0 && errno != ENOENT) Note(errno, name);
      return;
    }
    if (::unlinkat(parent, name.c_str(), AT_REMOVEDIR) == 0) return;
    if (st.st_dev != device_) {  // a mount: not ours to empty
      Note(EXDEV, name);
      return;
    }
    UniqueFd fd(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd && errno == EACCES) {
      if (::fchmodat(parent, name.c_str(), 0700, 0) == 0)
        fd.reset(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    }
    if (!fd) {
      Note(errno, name);
      return;
    }
    ClearFlags(fd.get());
    (void)::fchmod(fd.get(), 0700);
    if (level >= kMaxOpenLevels) {
      fd.reset();
      MoveUp(parent, name);
      return;
    }
    int dir_fd = fd.release();
    std::unique_ptr<DIR, CloseDir> stream(::fdopendir(dir_fd));
    if (!stream) {
      Note(errno, name);
      ::close(dir_fd);
      return;
    }
    // Names first, then removal: readdir beside unlink may skip entries on some file systems.
    std::vector<std::string> names;
    while (dirent* entry = ::readdir(stream.get())) {
      std::string entry_name = entry->d_name;
      if (entry_name != "." && entry_name != "..") names.push_back(std::move(entry_name));
    }
    for (const std::string& child : names) RemoveOne(::dirfd(stream.get()), child, level + 1);
    if (::unlinkat(parent, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) Note(errno, name);
  }

  int root_parent_;
  dev_t device_;
  int counter_ = 0;
  std::vector<std::string> pending_;
  std::unique_ptr<Error> first_error_;
};

}  // namespace

Status RemoveTreeBeneath(int dir, const std::string& name) {
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos)
    return Error{ErrorKind::kInvalid, "path.bad_name",
                 "only a single name can be removed beneath a directory"};
  struct stat st {};
  if (::fstat(dir, &st) != 0) return SysError(errno, "path.stat_failed", "cannot stat a directory");
  TreeRemover remover(dir, st.st_dev);
  remover.Remove(name);
  return std::move(remover).TakeStatus();
}

bool IsSafeRelativePath(std::string_view path) {
  if (path.empty() || path.find('\0') != std::string_view::npos ||
      path.find('\\') != std::string_view::npos)
    return false;
  if (path.size() >= 2 && path[1] == ':' && ((path[0] | 0x20) >= 'a' && (path[0] | 0x20) <= 'z'))
    return false;
  std::size_t pos = 0;
  while (pos <= path.size()) {
    std::size_t slash = path.find('/', pos);
    if (slash == std::string_view::npos) slash = path.size();
    std::string_view part = path.substr(pos, slash - pos);
    if (part.empty() || part == "." || part == "..") return false;
    pos = slash + 1;
  }
  return true;
}

}  // namespace writ
