#include "tree_writer.h"

#include <fcntl.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <thread>

#include "writ/base/file.h"
#include "writ/workspace/quoted_path.h"

namespace writ::workspace {
namespace {

constexpr std::size_t kChunk = 128;  // files that a thread takes at once: neighbours in one folder

Error WriteError(int err, std::string_view path) {
  Error error = SysError(err, "workspace.write_failed", "cannot write '" + QuotePath(path) + "'");
  if (err == ENOSPC) error.hint = "the file system of the runner's state directory is full";
  if (err == EEXIST) {
    error.kind = ErrorKind::kInvalid;
    error.code = "workspace.name_clash";
    error.hint = "two names of the tree are one name here";
  }
  return error;
}

// The folder that a thread is in: one handle per level, so that neighbours need no new walk.
class FolderCursor {
 public:
  explicit FolderCursor(int root) : root_(root) {}

  // The handle of the folder that holds `path`, made where it is missing.
  Result<int> Enter(std::string_view path) {
    std::size_t slash = path.rfind('/');
    std::string_view wanted = slash == std::string_view::npos ? "" : path.substr(0, slash);
    while (!levels_.empty() && !Holds(levels_.back().path, wanted)) levels_.pop_back();
    std::size_t done = levels_.empty() ? 0 : levels_.back().path.size() + 1;
    while (done < wanted.size()) {
      std::size_t end = std::min(wanted.find('/', done), wanted.size());
      std::string name(wanted.substr(done, end - done));
      int parent = levels_.empty() ? root_ : levels_.back().fd.get();
      WRIT_ASSIGN(UniqueFd fd, MakeFolder(parent, name, wanted.substr(0, end)));
      levels_.push_back({std::string(wanted.substr(0, end)), std::move(fd)});
      done = end + 1;
    }
    return levels_.empty() ? root_ : levels_.back().fd.get();
  }

  static Result<UniqueFd> MakeFolder(int parent, const std::string& name, std::string_view path) {
    bool made = ::mkdirat(parent, name.c_str(), 0755) == 0;
    if (!made && errno != EEXIST) return WriteError(errno, path);
    UniqueFd fd(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) return WriteError(errno == ENOTDIR || errno == ELOOP ? EEXIST : errno, path);
    struct stat st {};
    if (made && ::fstat(fd.get(), &st) == 0 && (st.st_mode & 0777) != 0755 &&
        ::fchmod(fd.get(), 0755) != 0)
      return WriteError(errno, path);
    return fd;
  }

 private:
  struct Level {
    std::string path;
    UniqueFd fd;
  };
  static bool Holds(std::string_view folder, std::string_view path) {
    return path == folder ||
           (path.size() > folder.size() && path.starts_with(folder) && path[folder.size()] == '/');
  }
  int root_;
  std::vector<Level> levels_;
};

class Writer {
 public:
  Writer(const TreeWriteOptions& options, std::vector<InputFile>& files)
      : options_(options), files_(files) {}

  Result<std::uint64_t> Run() {
    std::size_t useful = files_.size() / kChunk + 1;
    auto count = static_cast<unsigned>(
        std::clamp<std::size_t>(options_.threads, 1, std::min<std::size_t>(useful, 16)));
    {
      // Threads of their own even where one would do: file system ids belong to a thread.
      std::vector<std::jthread> threads;
      for (unsigned i = 0; i < count; ++i) threads.emplace_back([this] { Work(); });
    }
    std::lock_guard lock(mutex_);
    if (error_) return std::move(*error_);
    return bytes_.load();
  }

 private:
  void Work() {
    FileSystemIds ids;
    if (options_.owner) {
      if (Status taken = ids.Take(*options_.owner); !taken) return Fail(taken.error());
    }
    FolderCursor folder(options_.target);
    for (;;) {
      std::size_t begin = next_.fetch_add(kChunk);
      if (begin >= files_.size() || failed_) return;
      std::size_t end = std::min(begin + kChunk, files_.size());
      for (std::size_t i = begin; i < end && !failed_; ++i) {
        if (Status written = WriteOne(folder, files_[i]); !written) return Fail(written.error());
        if (options_.wrote) options_.wrote(files_[i].stamp.size);
      }
    }
  }

  void Fail(const Error& error) {
    std::lock_guard lock(mutex_);
    if (!error_) error_ = error;
    failed_ = true;
  }

  Status WriteOne(FolderCursor& folder, InputFile& file) {
    const std::string& path = file.item.path;
    WRIT_ASSIGN(int parent, folder.Enter(path));
    std::size_t slash = path.rfind('/');
    const char* name = path.c_str() + (slash == std::string::npos ? 0 : slash + 1);
    if (file.item.mode == kModeGitlink) {
      WRIT_ASSIGN(UniqueFd made, FolderCursor::MakeFolder(parent, name, path));
      return {};
    }
    WRIT_ASSIGN(std::string content, options_.content(file));
    WRIT_TRY(Count(content.size(), path));
    struct stat st {};
    struct timespec times[2] = {{0, UTIME_OMIT}, {static_cast<time_t>(options_.mtime), 0}};
    if (file.item.mode == kModeSymlink) {
      if (content.empty() || content.find('\0') != std::string::npos || content.size() > 4095)
        return Error{
            .kind = ErrorKind::kInvalid,
            .code = "workspace.hostile_tree",
            .message = "the link '" + QuotePath(path) + "' has a target that no link can have"};
      if (::symlinkat(content.c_str(), parent, name) != 0 ||
          ::utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW) != 0 ||
          ::fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return WriteError(errno, path);
    } else {
      mode_t mode = file.item.mode == kModeExecutable ? 0755 : 0644;
      UniqueFd fd(
          ::openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
      if (!fd) return WriteError(errno, path);
      if (Status written = WriteAll(fd.get(), content); !written)
        return WriteError(written.error().sys_errno, path);
      if (::futimens(fd.get(), times) != 0 || ::fstat(fd.get(), &st) != 0)
        return WriteError(errno, path);
      if ((st.st_mode & 07777) != mode &&  // the umask took bits away
          (::fchmod(fd.get(), mode) != 0 || ::fstat(fd.get(), &st) != 0))
        return WriteError(errno, path);
    }
    file.stamp = FileStamp::Of(st);
    file.device = st.st_dev;
    file.ctime_s = static_cast<std::uint64_t>(st.st_ctim.tv_sec);
    file.mtime_s = static_cast<std::uint64_t>(st.st_mtim.tv_sec);
    return {};
  }

  Status Count(std::uint64_t bytes, const std::string& path) {
    if (bytes > options_.max_file_bytes || (bytes_ += bytes) > options_.max_tree_bytes)
      return Error{.kind = ErrorKind::kInvalid,
                   .code = "workspace.input_limit",
                   .message = "the tree is over the size limit at '" + QuotePath(path) + "'"};
    return {};
  }

  const TreeWriteOptions& options_;
  std::vector<InputFile>& files_;
  std::atomic<std::size_t> next_{0};
  std::atomic<std::uint64_t> bytes_{0};
  std::atomic<bool> failed_{false};
  std::mutex mutex_;  // guards error_
  std::optional<Error> error_;
};

}  // namespace

Status FileSystemIds::Take(const JobOwner& owner) {
  JobOwner now{::geteuid(), ::getegid()};
  if (owner.uid == now.uid && owner.gid == now.gid) return {};
  // Neither call tells of failure; asking again with an impossible id gives the one in force.
  ::setfsgid(owner.gid);
  ::setfsuid(owner.uid);
  before_ = now;
  if (static_cast<gid_t>(::setfsgid(static_cast<gid_t>(-1))) != owner.gid ||
      static_cast<uid_t>(::setfsuid(static_cast<uid_t>(-1))) != owner.uid)
    return Error{.kind = ErrorKind::kDenied,
                 .code = "workspace.owner_refused",
                 .message = "files cannot be made for the job's user",
                 .hint = "run the runner as root, or without a job user of its own"};
  return {};
}

FileSystemIds::~FileSystemIds() {
  if (!before_) return;
  ::setfsuid(before_->uid);
  ::setfsgid(before_->gid);
}

Result<std::uint64_t> WriteTree(const TreeWriteOptions& options, std::vector<InputFile>& files) {
  return Writer(options, files).Run();
}

}  // namespace writ::workspace
