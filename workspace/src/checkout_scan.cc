#include "checkout_scan.h"

#include <fcntl.h>
#include <git2.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <unordered_set>

#include "input_state.h"
#include "patch_writer.h"
#include "tree_listing.h"
#include "untracked_walk.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/workspace/ignore_rules.h"
#include "writ/workspace/quoted_path.h"

namespace writ::workspace {
namespace {

constexpr std::uint64_t kMaxContentBytes = std::uint64_t{2} << 30;

Error Unreadable(const std::string& path, int err) {
  Error error = SysError(err, "workspace.unreadable", "cannot read '" + QuotePath(path) + "'");
  error.kind = ErrorKind::kInvalid;
  error.hint = "give yourself permission to read it";
  return error;
}

// libgit2 tells a form of index that it does not know from a damaged one only in its sentence.
Error UnreadIndex(const std::string& path) {
  const git_error* last = ::git_error_last();
  const std::string_view why = last != nullptr && last->message != nullptr ? last->message : "";
  if (why.find("mandatory extension") != std::string_view::npos)
    return Error{.kind = ErrorKind::kUnsupported,
                 .code = "workspace.index_unsupported",
                 .message =
                     "the repository's index is a split or a sparse one, which is not read "
                     "here (" +
                     std::string(why) + ")",
                 .hint =
                     "write it whole: `git update-index --no-split-index`, or `git "
                     "sparse-checkout init --no-sparse-index`"};
  Error error =
      GitError(ErrorKind::kInvalid, "workspace.index_damaged", "the repository's index is damaged");
  error.hint =
      "`rm " + path + " && git reset` makes it anew from HEAD; what was staged stays in your files";
  return error;
}

// The folder of the last file that was asked for, kept open: files come sorted.
class FolderHandle {
 public:
  explicit FolderHandle(int root) : root_(root) {}
  // -1 where there is no such folder (or a link stands in its place).
  int For(const std::string& path) {
    std::size_t slash = path.rfind('/');
    std::string folder = slash == std::string::npos ? "" : path.substr(0, slash);
    if (folder.empty()) return root_;
    if (folder != name_ || !known_) {
      name_ = folder;
      known_ = true;
      auto opened = OpenBeneath(root_, folder, O_PATH | O_DIRECTORY);
      fd_ = opened ? std::move(*opened) : UniqueFd();
    }
    return fd_.get();
  }

 private:
  int root_;
  std::string name_;
  bool known_ = false;
  UniqueFd fd_;
};

struct LfsPointer {
  std::string oid;
  std::uint64_t size = 0;
};

std::optional<LfsPointer> ParseLfsPointer(std::string_view content) {
  if (content.size() > 1024 || !content.starts_with("version https://git-lfs.github.com/spec/"))
    return std::nullopt;
  LfsPointer pointer;
  std::size_t oid = content.find("\noid sha256:");
  std::size_t size = content.find("\nsize ");
  if (oid == std::string_view::npos || size == std::string_view::npos) return std::nullopt;
  pointer.oid = content.substr(oid + 12, 64);
  std::string_view digits = content.substr(size + 6);
  std::from_chars(digits.data(), digits.data() + digits.size(), pointer.size);
  return pointer;
}

class Scanner {
 public:
  Scanner(const RepositoryFiles& repository, const OdbSource& objects,
          const CheckoutScanOptions& options)
      : repository_(repository),
        objects_(objects),
        options_(options),
        writer_([this](const ObjectId& id) { return objects_.AbbreviationOf(id); }) {}

  Result<CheckoutState> Run() {
    WRIT_ASSIGN(root_, OpenDirectory(repository_.root));
    WRIT_TRY(ReadHead());
    WRIT_TRY(ReadIndex());
    WRIT_TRY(CompareAll());
    WRIT_TRY(WalkUntracked());
    WRIT_TRY(CheckUnchanged());
    std::sort(state_.denied_paths.begin(), state_.denied_paths.end());
    auto last = std::unique(state_.denied_paths.begin(), state_.denied_paths.end());
    state_.denied_paths.erase(last, state_.denied_paths.end());
    return std::move(state_);
  }

 private:
  struct Tracked {
    const git_index_entry* entry = nullptr;
    bool unmerged = false;
  };

  void Report(std::string code, const std::string& path, std::string detail) {
    state_.findings.push_back({"workspace." + std::move(code), path, std::move(detail)});
  }

  Status ReadHead() {
    WRIT_ASSIGN(std::string commit, ReadTyped(objects_, repository_.head, ObjectType::kCommit));
    WRIT_ASSIGN(CommitInfo info, ParseCommit(commit));
    WRIT_ASSIGN(head_, ListTree(objects_, info.tree, {}));
    for (const TreeItem& item : head_) {
      if (IsDenied(options_.denied_patterns, item.path))
        Report("denied_in_history", item.path,
               "a denied path is committed, so its committed content travels in the bundle");
      if (item.mode == kModeGitlink)
        Report("submodule_not_carried", item.path, "a submodule's content is not carried");
      if (item.path == ".gitattributes" || item.path.ends_with("/.gitattributes")) {
        auto text = ReadTyped(objects_, item.id, ObjectType::kBlob);
        if (text && text->find("filter=lfs") != std::string::npos)
          Report("lfs_pointers", item.path,
                 "files kept in Git LFS travel as their pointers, not their content");
      }
    }
    return {};
  }

  Status ReadIndex() {
    std::string path = repository_.git_dir + "/index";
    if (::stat(path.c_str(), &index_stat_) != 0 && errno != ENOENT)
      return Unreadable("index", errno);
    if (::access(path.c_str(), R_OK) != 0 && errno != ENOENT) return Unreadable("index", errno);
    if (::git_index_open(index_.out(), path.c_str()) != 0 || ::git_index_read(index_.get(), 1) != 0)
      return UnreadIndex(path);
    std::size_t count = ::git_index_entrycount(index_.get());
    for (std::size_t i = 0; i < count; ++i) {
      const git_index_entry* entry = ::git_index_get_byindex(index_.get(), i);
      auto& slot = tracked_[entry->path];
      if (slot.entry == nullptr) slot.entry = entry;
      slot.unmerged = slot.unmerged || GIT_INDEX_ENTRY_STAGE(entry) != 0;
    }
    return {};
  }

  Status CompareAll() {
    FolderHandle folders(root_.get());
    auto head = head_.begin();
    auto tracked = tracked_.begin();
    while (head != head_.end() || tracked != tracked_.end()) {
      bool take_head =
          tracked == tracked_.end() || (head != head_.end() && head->path <= tracked->first);
      bool take_index =
          head == head_.end() || (tracked != tracked_.end() && tracked->first <= head->path);
      const TreeItem* old = take_head ? &*head++ : nullptr;
      const Tracked* now = nullptr;
      std::string path = old != nullptr ? old->path : tracked->first;
      if (take_index) now = &(tracked++)->second;
      WRIT_TRY(ComparePath(path, old, now, folders));
    }
    return {};
  }

  Status ComparePath(const std::string& path, const TreeItem* old, const Tracked* now,
                     FolderHandle& folders) {
    bool gitlink = (old != nullptr && old->mode == kModeGitlink) ||
                   (now != nullptr && now->entry->mode == kModeGitlink);
    if (gitlink) {
      if (old == nullptr || now == nullptr || now->entry->mode != old->mode ||
          std::memcmp(now->entry->id.id, old->id.bytes.data(), 20) != 0)
        Report("submodule_not_carried", path, "a change of a submodule is not carried");
      return {};
    }
    std::optional<TreeItem> final;
    std::optional<std::string> content;
    if (now != nullptr) {
      int folder = folders.For(path);
      WRIT_TRY(LookAtFile(path, *now, folder, final, content));
    }
    bool same = (old != nullptr) == final.has_value() && (old == nullptr || *old == *final);
    if (same) return {};
    if (IsDenied(options_.denied_patterns, path)) {
      state_.denied_paths.push_back(path);
      Report("denied_change_left_out", path, "an uncommitted change of a denied path is left out");
      return {};
    }
    std::string old_content;
    if (old != nullptr) {
      WRIT_ASSIGN(old_content, ReadTyped(objects_, old->id, ObjectType::kBlob));
    }
    if (final && !content) {
      WRIT_ASSIGN(content, ReadTyped(objects_, final->id, ObjectType::kBlob));
    }
    if (final && old != nullptr && final->id != old->id) {
      WRIT_ASSIGN(bool is_lfs_copy, CheckLfs(path, old_content, *content));
      if (is_lfs_copy) return {};
    }
    PatchSide old_side{old != nullptr ? old->mode : 0, old != nullptr ? old->id : ObjectId{},
                       old_content};
    PatchSide new_side;
    if (final) new_side = {final->mode, final->id, *content};
    WRIT_TRY(writer_.Append(state_.diff, path, old != nullptr ? &old_side : nullptr,
                            final ? &new_side : nullptr, IdLength::kAbbreviated));
    ++state_.changed_files;
    if (state_.diff.size() > options_.max_diff_bytes)
      return Error{
          .kind = ErrorKind::kInvalid,
          .code = "workspace.input_limit",
          .message = "the uncommitted change is over the limit at '" + QuotePath(path) + "'",
          .hint = "commit it, so that it travels in the bundle"};
    return {};
  }

  // True where the file on disk is the content that the committed LFS pointer stands for.
  Result<bool> CheckLfs(const std::string& path, std::string_view old_content,
                        std::string_view content) {
    auto pointer = ParseLfsPointer(old_content);
    if (!pointer || ParseLfsPointer(content)) return false;
    if (pointer->size == content.size() && protocol::Sha256(content).ToHex() == pointer->oid)
      return true;
    return Error{.kind = ErrorKind::kUnsupported,
                 .code = "workspace.lfs_modified",
                 .message = "'" + QuotePath(path) + "' is kept in Git LFS and has been changed",
                 .hint = "commit or restore it: LFS filters are not run here"};
  }

  // The file's state on disk as git would record it. `final` stays empty where it is not there;
  // `content` is set where it had to be read.
  Status LookAtFile(const std::string& path, const Tracked& now, int folder,
                    std::optional<TreeItem>& final, std::optional<std::string>& content) {
    const git_index_entry& entry = *now.entry;
    TreeItem recorded{path, entry.mode, {}};
    std::memcpy(recorded.id.bytes.data(), entry.id.id, 20);
    bool as_recorded = (entry.flags & GIT_INDEX_ENTRY_VALID) != 0 ||
                       (entry.flags_extended & GIT_INDEX_ENTRY_SKIP_WORKTREE) != 0;
    if (as_recorded && !now.unmerged) {
      final = recorded;
      return {};
    }
    struct stat st {};
    std::size_t slash = path.rfind('/');
    const char* name = path.c_str() + (slash == std::string::npos ? 0 : slash + 1);
    if (folder < 0 || ::fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
      if (folder >= 0 && errno != ENOENT && errno != ENOTDIR) return Unreadable(path, errno);
      return {};
    }
    if (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode)) return {};
    std::uint32_t mode = S_ISLNK(st.st_mode)        ? kModeSymlink
                         : (st.st_mode & 0100) != 0 ? kModeExecutable
                                                    : kModeRegular;
    if (!repository_.trust_file_mode && S_ISREG(st.st_mode) && (entry.mode & 0170000) == 0100000)
      mode = entry.mode;
    bool intent_to_add = (entry.flags_extended & GIT_INDEX_ENTRY_INTENT_TO_ADD) != 0;
    if (!now.unmerged && !intent_to_add && mode == entry.mode && StatVouches(entry, st)) {
      final = recorded;
      return {};
    }
    if (S_ISLNK(st.st_mode)) {
      std::string target(4097, '\0');
      ssize_t n = ::readlinkat(folder, name, target.data(), target.size());
      if (n < 0) return Unreadable(path, errno);
      target.resize(static_cast<std::size_t>(n));
      content = std::move(target);
    } else {
      WRIT_ASSIGN(content, ReadCheckoutFile(root_.get(), path, kMaxContentBytes));
    }
    final = TreeItem{path, mode, ObjectId::OfBlob(*content)};
    return {};
  }

  // The index saw the file as it is now, and long enough before it was itself written.
  bool StatVouches(const git_index_entry& entry, const struct stat& st) const {
    auto low = [](auto value) { return static_cast<std::uint32_t>(value); };
    if (low(entry.mtime.seconds) != low(st.st_mtim.tv_sec) ||
        low(entry.ctime.seconds) != low(st.st_ctim.tv_sec) || entry.ino != low(st.st_ino) ||
        entry.file_size != low(st.st_size) || entry.uid != st.st_uid || entry.gid != st.st_gid)
      return false;
    if (entry.mtime.nanoseconds != 0 && entry.mtime.nanoseconds != low(st.st_mtim.tv_nsec))
      return false;
    if (entry.ctime.nanoseconds != 0 && entry.ctime.nanoseconds != low(st.st_ctim.tv_nsec))
      return false;
    return low(entry.mtime.seconds) < low(index_stat_.st_mtim.tv_sec);
  }

  Status WalkUntracked() {
    std::unordered_set<std::string> paths;
    std::unordered_set<std::string> submodules;
    for (const auto& [path, tracked] : tracked_) {
      paths.insert(path);
      if (tracked.entry->mode == kModeGitlink) submodules.insert(path);
    }
    return WalkUntrackedFiles({.root = root_.get(),
                               .git_dir = repository_.common_dir,
                               .allow = options_.allow_untracked,
                               .denied = options_.denied_patterns,
                               .tracked = paths,
                               .submodules = submodules},
                              state_);
  }

  Status CheckUnchanged() {
    struct stat now {};
    bool same = ::stat((repository_.git_dir + "/index").c_str(), &now) != 0 ||
                FileStamp::Of(now) == FileStamp::Of(index_stat_);
    auto again = FindRepository(repository_.root);
    if (same && again && again->head == repository_.head) return {};
    return Error{.kind = ErrorKind::kConflict,
                 .code = "workspace.changed_while_captured",
                 .message = "the repository changed while it was read",
                 .hint = "try again when nothing else works in it"};
  }

  const RepositoryFiles& repository_;
  const OdbSource& objects_;
  const CheckoutScanOptions& options_;
  PatchWriter writer_;
  UniqueFd root_;
  TreeListing head_;
  GitPtr<git_index, git_index_free> index_;
  struct stat index_stat_ {};
  std::map<std::string, Tracked> tracked_;
  CheckoutState state_;
};

}  // namespace

Result<CheckoutState> ScanCheckout(const RepositoryFiles& repository, const OdbSource& objects,
                                   const CheckoutScanOptions& options) {
  return Scanner(repository, objects, options).Run();
}

bool IsDenied(const std::vector<std::string>& patterns, std::string_view path) {
  for (const std::string& pattern : patterns) {
    for (std::size_t end = path.find('/');; end = path.find('/', end + 1)) {
      if (PathGlobMatches(pattern, path.substr(0, end))) return true;
      if (end == std::string_view::npos) break;
    }
  }
  return false;
}

Result<std::string> ReadCheckoutFile(int root, const std::string& path, std::uint64_t limit) {
  auto fd = OpenBeneath(root, path, O_RDONLY | O_NONBLOCK);
  if (!fd) return Unreadable(path, fd.error().sys_errno);
  struct stat before {};
  struct stat after {};
  if (::fstat(fd->get(), &before) != 0 || !S_ISREG(before.st_mode)) return Unreadable(path, EINVAL);
  WRIT_ASSIGN(std::string content, ReadAll(fd->get(), limit));
  if (::fstat(fd->get(), &after) != 0 || FileStamp::Of(before) != FileStamp::Of(after) ||
      content.size() != static_cast<std::size_t>(after.st_size))
    return Error{.kind = ErrorKind::kConflict,
                 .code = "workspace.changed_while_captured",
                 .message = "'" + QuotePath(path) + "' changed while it was read",
                 .hint = "try again when nothing else works in it"};
  return content;
}

}  // namespace writ::workspace
