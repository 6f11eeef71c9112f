#include "tree_walk.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/workspace/path_rules.h"
#include "writ/workspace/quoted_path.h"

namespace writ::workspace {
namespace {

Error OverLimit(const std::string& path, std::string_view what) {
  return Error{.kind = ErrorKind::kInvalid,
               .code = "workspace.output_limit",
               .message = "the job's tree is over a limit at '" + QuotePath(path.substr(0, 200)) +
                          "': " + std::string(what)};
}

std::string Join(const std::string& folder, const std::string& name) {
  return folder.empty() ? name : folder + "/" + name;
}

TreeEntry::Kind KindOf(mode_t mode) {
  if (S_ISREG(mode)) return TreeEntry::Kind::kRegular;
  if (S_ISLNK(mode)) return TreeEntry::Kind::kSymlink;
  return TreeEntry::Kind::kOther;
}

}  // namespace

Result<UniqueFd> OpenInTree(int root, const std::string& path, int flags) {
  bool is_root = path.empty();
  auto open = [&](int how) -> Result<UniqueFd> {
    if (!is_root) return OpenBeneath(root, path, how | O_NONBLOCK);
    UniqueFd fd(::openat(root, ".", how | O_CLOEXEC));
    if (!fd) return SysError(errno, "path.open_failed", "cannot open the tree");
    return fd;
  };
  auto opened = open(flags);
  if (opened || opened.error().sys_errno != EACCES) return opened;
  // Ours, but without the permission: through a handle, so that no link is followed.
  auto handle = open(O_PATH);
  if (!handle) return opened;
  struct stat st {};
  std::string by_handle = "/proc/self/fd/" + std::to_string(handle->get());
  if (::fstat(handle->get(), &st) != 0 || (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode)) ||
      ::chmod(by_handle.c_str(), st.st_mode | (S_ISDIR(st.st_mode) ? 0700 : 0400)) != 0)
    return opened;
  return open(flags);
}

void TreeWalk::Prepare() {
  by_path_.reserve(state_.input.size());
  found_.assign(state_.input.size(), false);
  for (std::size_t i = 0; i < state_.input.size(); ++i) {
    const TreeItem& item = state_.input[i].item;
    by_path_.emplace(item.path, i);
    if (item.mode == kModeGitlink) input_folders_[item.path] = true;
    std::string_view folder = item.path;
    // Neighbours share their folders: stop at the first one that is known.
    for (std::size_t slash = folder.rfind('/'); slash != std::string_view::npos;
         slash = folder.rfind('/')) {
      folder = folder.substr(0, slash);
      if (!input_folders_.try_emplace(folder, false).second) break;
    }
  }
}

Status TreeWalk::ForEach(const Visit& visit) {
  Prepare();
  todo_.push_back({});
  while (!todo_.empty()) {
    Folder folder = std::move(todo_.back());
    todo_.pop_back();
    WRIT_TRY(WalkFolder(folder, visit));
  }
  return CheckRemoved(visit);
}

Result<UniqueFd> TreeWalk::Open(const std::string& path) {
  return OpenInTree(root_, path, O_RDONLY);
}

Result<std::string> TreeWalk::ReadLink(const std::string& path) {
  WRIT_ASSIGN(UniqueFd link, OpenBeneath(root_, path, O_PATH));
  std::string target(4097, '\0');
  ssize_t n = ::readlinkat(link.get(), "", target.data(), target.size());
  if (n < 0) return SysError(errno, "workspace.read_failed", "cannot read a link");
  target.resize(static_cast<std::size_t>(n));
  return target;
}

Result<std::vector<TreeWalk::Name>> TreeWalk::List(int dir, const std::string& path) {
  UniqueFd copy(::openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  DIR* stream = copy ? ::fdopendir(copy.get()) : nullptr;
  if (stream == nullptr)
    return SysError(errno, "workspace.read_failed", "cannot list '" + QuotePath(path) + "'");
  (void)copy.release();
  std::vector<Name> names;
  errno = 0;
  Status counted;
  while (dirent* entry = ::readdir(stream)) {
    std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    counted = CountEntry(path);
    if (!counted) break;
    names.push_back({std::string(name), entry->d_type});
    errno = 0;
  }
  int err = errno;
  ::closedir(stream);
  WRIT_TRY(std::move(counted));
  if (err != 0)
    return SysError(err, "workspace.read_failed", "cannot list '" + QuotePath(path) + "'");
  return names;
}

Status TreeWalk::CountEntry(const std::string& path) {
  if (++entries_ <= limits_.max_entries) return {};
  return OverLimit(path, "more than " + std::to_string(limits_.max_entries) + " entries");
}

Status TreeWalk::WalkFolder(const Folder& folder, const Visit& visit) {
  auto dir = OpenInTree(root_, folder.path, O_RDONLY | O_DIRECTORY);
  if (!dir) return std::move(dir).error().With("reading the job's tree");
  WRIT_ASSIGN(std::vector<Name> names, List(dir->get(), folder.path));
  bool is_root = folder.path.empty();
  bool has_git = false;
  bool has_ignore = false;
  for (const Name& name : names) {
    has_git = has_git || name.text == ".git";
    has_ignore = has_ignore || name.text == ".gitignore";
  }
  if (has_git && !is_root) {
    if (!input_folders_.contains(folder.path)) {
      WRIT_ASSIGN(std::uint64_t count, CountBelow(folder.path));
      Report("nested_repository", folder.path,
             "a repository within the tree is not carried; it holds " + std::to_string(count) +
                 " files");
      return {};
    }
    Report("nested_repository", folder.path + "/.git",
           "a repository was planted in a folder of the base; the folder's files are carried");
  }
  rules_.LeaveTo(folder.path);
  if (has_ignore) ReadIgnoreFile(dir->get(), folder.path);
  for (const Name& name : names) {
    std::string path = Join(folder.path, name.text);
    if (name.text == ".git") continue;
    if (path.size() > kMaxPathBytes) return OverLimit(path, "a path of over 4095 bytes");
    unsigned char type = name.type;
    if (type == DT_UNKNOWN) {
      struct stat st {};
      if (::fstatat(dir->get(), name.text.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0)
        type = S_ISDIR(st.st_mode) ? DT_DIR : DT_REG;
    }
    if (!IsSafeTreeName(name.text)) {
      Report("unsafe_name", path, "git refuses this name; it is not carried");
    } else if (type == DT_DIR) {
      WRIT_TRY(TakeFolder(folder, path));
    } else {
      WRIT_TRY(TakeFile(dir->get(), folder, name, path, visit));
    }
  }
  return {};
}

Status TreeWalk::TakeFolder(const Folder& folder, const std::string& path) {
  auto known = input_folders_.find(path);
  if (known != input_folders_.end() && known->second) {  // a submodule: its folder is enough
    found_[by_path_.at(path)] = true;
    WRIT_ASSIGN(std::uint64_t count, CountBelow(path));
    if (count > 0)
      Report("submodule_not_carried", path,
             "the job put " + std::to_string(count) + " files into a submodule; not carried");
    return {};
  }
  bool ignored = IsIgnored(folder, path, IgnoreRules::Kind::kDirectory);
  if (ignored && known == input_folders_.end()) {
    NoteIgnored(path + "/");
    return {};
  }
  if (static_cast<std::size_t>(std::count(path.begin(), path.end(), '/')) >= kMaxPathDepth)
    return OverLimit(path, "folders nested over " + std::to_string(kMaxPathDepth) + " deep");
  todo_.push_back({path, ignored});
  return {};
}

Status TreeWalk::TakeFile(int dir, const Folder& folder, const Name& name, const std::string& path,
                          const Visit& visit) {
  struct stat st {};
  if (::fstatat(dir, name.text.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
    return SysError(errno, "workspace.read_failed", "cannot stat '" + QuotePath(path) + "'");
  ++seen_;
  TreeEntry entry{.path = path,
                  .kind = KindOf(st.st_mode),
                  .mode = static_cast<std::uint32_t>(st.st_mode & 07777),
                  .bytes = static_cast<std::uint64_t>(st.st_size)};
  auto known = by_path_.find(path);
  if (known == by_path_.end()) {
    if (IsIgnored(folder, path, IgnoreRules::Kind::kFile)) {
      NoteIgnored(path);
      return {};
    }
    return visit(entry);
  }
  if (entry.kind == TreeEntry::Kind::kOther) return visit(entry);  // and its file is gone
  found_[known->second] = true;
  const InputFile& file = state_.input[known->second];
  bool racy = file.stamp.ctime_ns >= state_.snapshot_ns;
  if (!racy && file.stamp == FileStamp::Of(st)) return {};
  return visit(entry);
}

Status TreeWalk::CheckRemoved(const Visit& visit) {
  for (std::size_t i = 0; i < found_.size(); ++i) {
    if (found_[i]) continue;
    TreeEntry entry;
    entry.path = state_.input[i].item.path;
    entry.kind = TreeEntry::Kind::kRemoved;
    WRIT_TRY(visit(entry));
  }
  return {};
}

// Files below a folder that is not carried. Uses the walk's own bound on entries.
Result<std::uint64_t> TreeWalk::CountBelow(const std::string& path) {
  std::vector<std::string> folders{path};
  std::uint64_t files = 0;
  while (!folders.empty()) {
    std::string folder = std::move(folders.back());
    folders.pop_back();
    if (folder.size() > kMaxPathBytes) continue;
    auto dir = OpenInTree(root_, folder, O_RDONLY | O_DIRECTORY);
    if (!dir) continue;
    WRIT_ASSIGN(std::vector<Name> names, List(dir->get(), folder));
    for (const Name& name : names) {
      if (name.type == DT_DIR) {
        folders.push_back(Join(folder, name.text));
      } else {
        ++files;
      }
    }
  }
  return files;
}

void TreeWalk::ReadIgnoreFile(int dir, const std::string& folder) {
  struct stat st {};
  if (::fstatat(dir, ".gitignore", &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode)) return;
  auto fd = OpenInTree(root_, Join(folder, ".gitignore"), O_RDONLY);
  if (!fd || ::fstat(fd->get(), &st) != 0 || !S_ISREG(st.st_mode)) return;
  std::string content(static_cast<std::size_t>(std::min<off_t>(st.st_size, 1 << 20)), '\0');
  ssize_t n = ::pread(fd->get(), content.data(), content.size(), 0);
  content.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  rules_.AddFile(folder, content);
}

bool TreeWalk::IsIgnored(const Folder& folder, const std::string& path, IgnoreRules::Kind kind) {
  if (folder.ignored) return true;
  if (rules_.empty()) return false;
  return rules_.Match(path, kind) == IgnoreRules::Verdict::kIgnored;
}

void TreeWalk::NoteIgnored(const std::string& path) {
  ++ignored_;
  if (ignored_examples_.size() < 3) ignored_examples_.push_back(path);
}

void TreeWalk::Report(std::string code, const std::string& path, std::string detail) {
  if (findings_.size() < 100'000)
    findings_.push_back({"workspace." + std::move(code), path, std::move(detail)});
}

}  // namespace writ::workspace
