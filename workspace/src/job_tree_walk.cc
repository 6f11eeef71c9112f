#include "job_tree_walk.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "overlay_marks.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/workspace/path_rules.h"
#include "writ/workspace/quoted_path.h"

namespace writ::workspace {
namespace {

TreeEntry::Kind KindOf(mode_t mode) {
  if (S_ISREG(mode)) return TreeEntry::Kind::kRegular;
  if (S_ISLNK(mode)) return TreeEntry::Kind::kSymlink;
  return TreeEntry::Kind::kOther;
}

}  // namespace

TreeEntry JobTreeWalk::EntryOf(const std::string& path, const struct stat& st) {
  return {.path = path,
          .kind = KindOf(st.st_mode),
          .mode = static_cast<std::uint32_t>(st.st_mode & 07777),
          .bytes = static_cast<std::uint64_t>(st.st_size)};
}

Error JobTreeWalk::OverLimit(const std::string& path, std::string_view what) {
  return Error{.kind = ErrorKind::kInvalid,
               .code = "workspace.output_limit",
               .message = "the job's tree is over a limit at '" + QuotePath(path.substr(0, 200)) +
                          "': " + std::string(what)};
}

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

Result<UniqueFd> JobTreeWalk::Open(const std::string& path) {
  return OpenInTree(root_, path, O_RDONLY);
}

Result<std::string> JobTreeWalk::ReadLink(const std::string& path) {
  WRIT_ASSIGN(UniqueFd link, OpenBeneath(root_, path, O_PATH));
  std::string target(4097, '\0');
  ssize_t n = ::readlinkat(link.get(), "", target.data(), target.size());
  if (n < 0) return SysError(errno, "workspace.read_failed", "cannot read a link");
  target.resize(static_cast<std::size_t>(n));
  return target;
}

Result<std::vector<JobTreeWalk::Name>> JobTreeWalk::List(int dir, const std::string& path) {
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

Status JobTreeWalk::CountEntry(const std::string& path) {
  if (++entries_ <= limits_.max_entries) return {};
  return OverLimit(path, "more than " + std::to_string(limits_.max_entries) + " entries");
}

Result<std::uint64_t> JobTreeWalk::CountBelow(const std::string& path) {
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
        continue;
      }
      struct stat st {};
      bool whiteout = layer_ == Layer::kUpper && name.type == DT_CHR &&
                      ::fstatat(dir->get(), name.text.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                      IsWhiteout(st);
      if (!whiteout) ++files;
    }
  }
  return files;
}

void JobTreeWalk::ReadIgnoreFile(int dir, const std::string& folder) {
  struct stat st {};
  if (::fstatat(dir, ".gitignore", &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode)) return;
  auto fd = OpenInTree(root_, Join(folder, ".gitignore"), O_RDONLY);
  if (!fd || ::fstat(fd->get(), &st) != 0 || !S_ISREG(st.st_mode)) return;
  std::string content(static_cast<std::size_t>(std::min<off_t>(st.st_size, 1 << 20)), '\0');
  ssize_t n = ::pread(fd->get(), content.data(), content.size(), 0);
  content.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  rules_.AddFile(folder, content);
}

bool JobTreeWalk::IsIgnored(const Folder& folder, const std::string& path,
                            IgnoreRules::Kind kind) const {
  if (folder.ignored) return true;
  if (rules_.empty()) return false;
  return rules_.Match(path, kind) == IgnoreRules::Verdict::kIgnored;
}

void JobTreeWalk::NoteIgnored(const std::string& path) {
  ++ignored_;
  if (ignored_examples_.size() < 3) ignored_examples_.push_back(path);
}

void JobTreeWalk::Report(std::string code, const std::string& path, std::string detail) {
  if (findings_.size() < 100'000)
    findings_.push_back({"workspace." + std::move(code), path, std::move(detail)});
}

}  // namespace writ::workspace
