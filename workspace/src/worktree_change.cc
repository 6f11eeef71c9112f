#include "worktree_change.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "writ/base/encoding.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/workspace/quoted_path.h"

namespace writ::workspace {
namespace {

constexpr std::uint64_t kMaxContentBytes = std::uint64_t{2} << 30;

std::string Leaf(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

std::string Parent(const std::string& path) {
  std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

Error Failed(int err, const std::string& path) {
  return SysError(err, "pull.write_failed", "cannot change '" + QuotePath(path) + "'");
}

Error NotAsExpected(const std::string& path) {
  return Error{.kind = ErrorKind::kConflict,
               .code = "pull.checkout_changed",
               .message = "'" + QuotePath(path) + "' changed while the output was applied"};
}

int RenameNew(int from_dir, const std::string& from, int to_dir, const std::string& to) {
  return static_cast<int>(
      ::syscall(SYS_renameat2, from_dir, from.c_str(), to_dir, to.c_str(), RENAME_NOREPLACE));
}

class Applier {
 public:
  Applier(const RepositoryFiles& repository, std::string aside, const FileChanges& changes)
      : repository_(repository), aside_name_(std::move(aside)), changes_(changes) {}

  Status Run() {
    WRIT_ASSIGN(root_, OpenDirectory(repository_.root));
    WRIT_ASSIGN(git_, OpenDirectory(repository_.git_dir));
    if (::mkdirat(git_.get(), aside_name_.c_str(), 0700) != 0) {
      if (errno != EEXIST) return Failed(errno, aside_name_);
      return Error{.kind = ErrorKind::kConflict,
                   .code = "pull.interrupted",
                   .message = "an earlier pull of this run was interrupted",
                   .hint = "its originals and journal are in " + repository_.git_dir + "/" +
                           aside_name_ + "; put back what you need, then remove that folder"};
    }
    WRIT_ASSIGN(aside_, OpenBeneath(git_.get(), aside_name_, O_RDONLY | O_DIRECTORY));
    Status done = WriteJournal();
    if (done) done = MoveOriginals();
    if (done) done = PutNew();
    if (!done) {
      if (Status undone = Undo(); !undone)
        return std::move(undone).error().With("taking back a pull that failed: originals are in " +
                                              repository_.git_dir + "/" + aside_name_);
    } else {
      for (const auto& [path, change] : changes_)
        if (!change.after) RemoveEmptyFolders(Parent(path));
    }
    (void)RemoveTreeBeneath(git_.get(), aside_name_);
    return done;
  }

 private:
  struct Moved {
    std::string path;
    std::string name;  // in the aside folder
  };

  Status WriteJournal() {
    std::string journal;
    std::size_t number = 0;
    for (const auto& [path, change] : changes_)
      if (change.before) journal += std::to_string(number++) + " " + QuotePath(path) + "\n";
    return WriteFileAtomic(aside_.get(), "journal", journal, 0600);
  }

  Result<UniqueFd> OpenParent(const std::string& path) const {
    std::string parent = Parent(path);
    if (!parent.empty()) return OpenBeneath(root_.get(), parent, O_RDONLY | O_DIRECTORY);
    return root_.Duplicate();
  }

  Status MoveOriginals() {
    std::size_t number = 0;
    for (const auto& [path, change] : changes_) {
      if (!change.before) continue;
      std::string name = std::to_string(number++);
      WRIT_ASSIGN(UniqueFd parent, OpenParent(path));
      if (RenameNew(parent.get(), Leaf(path), aside_.get(), name) != 0) return Failed(errno, path);
      moved_.push_back({path, name});
      // Whatever was moved is what was looked at, or it goes back.
      WRIT_ASSIGN(auto item, LookAt(aside_.get(), name));
      if (!item || item->mode != change.before->mode || item->id != change.before->id)
        return NotAsExpected(path);
    }
    return {};
  }

  Status PutNew() {
    for (const auto& [path, change] : changes_) {
      if (!change.after) continue;
      std::string parent_path = Parent(path);
      // A folder may have to go where a file comes, once it is empty.
      (void)::unlinkat(root_.get(), path.c_str(), AT_REMOVEDIR);
      WRIT_ASSIGN(UniqueFd parent, parent_path.empty()
                                       ? root_.Duplicate()
                                       : MakeDirectoriesBeneath(root_.get(), parent_path, 0777));
      std::string temp = ".writ-pull-" + HexEncode(RandomBytes(8));
      WRIT_TRY(WriteTemp(parent.get(), temp, path, change));
      if (RenameNew(parent.get(), temp, parent.get(), Leaf(path)) != 0) {
        int err = errno;
        (void)::unlinkat(parent.get(), temp.c_str(), 0);
        return err == EEXIST ? NotAsExpected(path) : Failed(err, path);
      }
      placed_.push_back(path);
    }
    return {};
  }

  static Status WriteTemp(int parent, const std::string& temp, const std::string& path,
                          const FileChange& change) {
    if (change.after->mode == kModeSymlink) {
      if (::symlinkat(change.content.c_str(), parent, temp.c_str()) != 0)
        return Failed(errno, path);
      return {};
    }
    mode_t mode = change.after->mode == kModeExecutable ? 0777 : 0666;
    UniqueFd fd(
        ::openat(parent, temp.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
    if (!fd) return Failed(errno, path);
    Status written = WriteAll(fd.get(), change.content);
    if (written && ::fdatasync(fd.get()) != 0) written = Failed(errno, path);
    if (!written) (void)::unlinkat(parent, temp.c_str(), 0);
    return written;
  }

  Status Undo() {
    for (auto path = placed_.rbegin(); path != placed_.rend(); ++path) {
      WRIT_ASSIGN(UniqueFd parent, OpenParent(*path));
      if (::unlinkat(parent.get(), Leaf(*path).c_str(), 0) != 0 && errno != ENOENT)
        return Failed(errno, *path);
      RemoveEmptyFolders(Parent(*path));
    }
    for (const Moved& moved : moved_) {
      std::string parent_path = Parent(moved.path);
      WRIT_ASSIGN(UniqueFd parent, parent_path.empty()
                                       ? root_.Duplicate()
                                       : MakeDirectoriesBeneath(root_.get(), parent_path, 0777));
      if (RenameNew(aside_.get(), moved.name, parent.get(), Leaf(moved.path)) != 0)
        return Failed(errno, moved.path);
    }
    return {};
  }

  void RemoveEmptyFolders(std::string folder) const {
    while (!folder.empty()) {
      auto parent = OpenParent(folder);
      if (!parent || ::unlinkat(parent->get(), Leaf(folder).c_str(), AT_REMOVEDIR) != 0) return;
      folder = Parent(folder);
    }
  }

  const RepositoryFiles& repository_;
  std::string aside_name_;
  const FileChanges& changes_;
  UniqueFd root_, git_, aside_;
  std::vector<Moved> moved_;
  std::vector<std::string> placed_;
};

}  // namespace

Result<std::optional<TreeItem>> LookAt(int root, const std::string& path) {
  auto handle = OpenBeneath(root, path, O_PATH);
  if (!handle) {
    int err = handle.error().sys_errno;
    if (err == ENOENT || err == ENOTDIR || err == ELOOP) return std::optional<TreeItem>();
    return std::move(handle).error();
  }
  struct stat st {};
  if (::fstat(handle->get(), &st) != 0) return Failed(errno, path);
  TreeItem item{path, 0, {}};
  std::string content;
  if (S_ISLNK(st.st_mode)) {
    content.resize(4097);
    ssize_t n = ::readlinkat(handle->get(), "", content.data(), content.size());
    if (n < 0) return Failed(errno, path);
    content.resize(static_cast<std::size_t>(n));
    item.mode = kModeSymlink;
  } else if (S_ISREG(st.st_mode)) {
    WRIT_ASSIGN(UniqueFd fd, OpenBeneath(root, path, O_RDONLY | O_NONBLOCK));
    WRIT_ASSIGN(content, ReadAll(fd.get(), kMaxContentBytes));
    item.mode = (st.st_mode & 0100) != 0 ? kModeExecutable : kModeRegular;
  } else {
    return std::optional(item);
  }
  item.id = ObjectId::OfBlob(content);
  return std::optional(item);
}

Status ApplyToWorktree(const RepositoryFiles& repository, const std::string& aside,
                       const FileChanges& changes) {
  return Applier(repository, aside, changes).Run();
}

}  // namespace writ::workspace
