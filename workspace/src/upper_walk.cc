#include "upper_walk.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>

#include "writ/base/paths.h"
#include "writ/workspace/path_rules.h"
#include "writ/workspace/quoted_path.h"

namespace writ::workspace {
namespace {

constexpr std::size_t kMaxIgnoreBytes = 1 << 20;

Error Forged(const std::string& path, std::string what) {
  return Error{.kind = ErrorKind::kIntegrity,
               .code = "workspace.overlay_forged",
               .message = "the upper layer " + std::move(what) + " at '" + QuotePath(path) + "'",
               .hint = "somebody wrote to the layer itself; the output is not to be trusted"};
}

}  // namespace

Status UpperWalk::ForEach(const Visit& visit) {
  folders_.push_back({});
  while (!folders_.empty()) {
    Merged merged = std::move(folders_.back());
    folders_.pop_back();
    WRIT_TRY(WalkFolder(std::move(merged), visit));
  }
  for (const auto& [path, file] : state_.changes) {
    if (told_.contains(path)) continue;
    if (file) {
      hidden_.insert(path);  // it was written here, and is not here any more
    } else {
      WRIT_TRY(CheckHidden(path));
    }
  }
  for (const std::string& path : hidden_) {
    if (told_.contains(path)) continue;
    TreeEntry entry;
    entry.path = path;
    entry.kind = TreeEntry::Kind::kRemoved;
    WRIT_TRY(visit(entry));
  }
  return {};
}

Status UpperWalk::WalkFolder(Merged merged, const Visit& visit) {
  const std::string path = merged.folder.path;
  auto dir = OpenInTree(root_, path, O_RDONLY | O_DIRECTORY);
  if (!dir) return std::move(dir).error().With("reading the job's tree");
  struct stat st {};
  if (::fstat(dir->get(), &st) != 0)
    return SysError(errno, "workspace.read_failed", "cannot stat '" + QuotePath(path) + "'");
  WRIT_ASSIGN(Opacity opacity, ReadOverlayMarks(dir->get(), st, path, xattrs_));
  if (opacity == Opacity::kOpaque) {
    if (path.empty()) return Forged(path, "covers the whole tree");
    if (merged.beneath == Beneath::kBase) WRIT_TRY(HideBase(path));
    merged.beneath = Beneath::kNothing;
  }
  WRIT_ASSIGN(std::vector<Name> names, List(dir->get(), path));
  std::sort(names.begin(), names.end(),
            [](const Name& a, const Name& b) { return a.text < b.text; });
  bool has_git = std::any_of(names.begin(), names.end(), [&](const Name& name) {
    struct stat git {};
    return name.text == ".git" && ::fstatat(dir->get(), ".git", &git, AT_SYMLINK_NOFOLLOW) == 0 &&
           !IsWhiteout(git);
  });
  if (has_git && !path.empty()) {
    WRIT_ASSIGN(bool of_input, state_.InputHasBelow(path));
    if (!of_input) {
      WRIT_ASSIGN(std::uint64_t count, CountBelow(path));
      Report("nested_repository", path,
             "a repository within the tree is not carried; it holds " + std::to_string(count) +
                 " files");
      return {};
    }
    Report("nested_repository", path + "/.git",
           "a repository was planted in a folder of the base; the folder's files are carried");
  }
  WRIT_TRY(ReadIgnoreRules(dir->get(), merged));
  for (const Name& name : names)
    if (name.text != ".git") WRIT_TRY(TakeName(dir->get(), merged, name.text, visit));
  return {};
}

// Of the merged folder: the upper layer's file, or else the base's.
Status UpperWalk::ReadIgnoreRules(int dir, const Merged& merged) {
  rules_.LeaveTo(merged.folder.path);
  struct stat st {};
  if (::fstatat(dir, ".gitignore", &st, AT_SYMLINK_NOFOLLOW) == 0) {
    ReadIgnoreFile(dir, merged.folder.path);  // nothing where it is a whiteout
    return {};
  }
  if (merged.beneath == Beneath::kNothing) return {};
  WRIT_ASSIGN(std::optional<TreeItem> item,
              state_.FindBase(Join(merged.folder.path, ".gitignore")));
  if (!item || (item->mode != kModeRegular && item->mode != kModeExecutable)) return {};
  WRIT_ASSIGN(std::string text, state_.Content(*item, InputFile::Where::kPack));
  rules_.AddFile(merged.folder.path, std::string_view(text).substr(0, kMaxIgnoreBytes));
  return {};
}

Status UpperWalk::TakeName(int dir, const Merged& merged, const std::string& name,
                           const Visit& visit) {
  const std::string path = Join(merged.folder.path, name);
  if (path.size() > kMaxPathBytes) return OverLimit(path, "a path of over 4095 bytes");
  struct stat st {};
  if (::fstatat(dir, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
    return SysError(errno, "workspace.read_failed", "cannot stat '" + QuotePath(path) + "'");
  if (IsWhiteout(st)) return merged.beneath == Beneath::kBase ? HideBase(path) : Status();
  if (!IsSafeTreeName(name)) {
    Report("unsafe_name", path, "git refuses this name; it is not carried");
    return {};
  }
  return S_ISDIR(st.st_mode) ? TakeFolder(merged, path)
                             : TakeFile(dir, merged, name, path, st, visit);
}

Status UpperWalk::TakeFolder(const Merged& merged, const std::string& path) {
  WRIT_ASSIGN(std::optional<InputFile> input, state_.FindInput(path));
  if (input && input->item.mode == kModeGitlink) {  // a submodule: its folder is enough
    told_.insert(path);
    WRIT_ASSIGN(std::uint64_t count, CountBelow(path));
    if (count > 0)
      Report("submodule_not_carried", path,
             "the job put " + std::to_string(count) + " files into a submodule; not carried");
    return {};
  }
  Beneath beneath = Beneath::kNothing;
  if (merged.beneath == Beneath::kBase) {
    WRIT_ASSIGN(std::optional<BaseTree::Entry> base, state_.base_tree->Find(path));
    if (base && base->mode == kModeTree) {
      beneath = Beneath::kBase;
    } else if (base) {
      hidden_.insert(path);
    }
  }
  bool ignored = IsIgnored(merged.folder, path, IgnoreRules::Kind::kDirectory);
  if (ignored) {
    WRIT_ASSIGN(bool of_input, state_.InputHasBelow(path));
    if (!of_input) {
      NoteIgnored(path + "/");
      return {};
    }
  }
  if (static_cast<std::size_t>(std::count(path.begin(), path.end(), '/')) >= kMaxPathDepth)
    return OverLimit(path, "folders nested over " + std::to_string(kMaxPathDepth) + " deep");
  folders_.push_back({{path, ignored}, beneath});
  return {};
}

Status UpperWalk::TakeFile(int dir, const Merged& merged, const std::string& name,
                           const std::string& path, const struct stat& st, const Visit& visit) {
  UniqueFd handle(::openat(dir, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!handle)
    return SysError(errno, "workspace.read_failed", "cannot open '" + QuotePath(path) + "'");
  if (auto marks = ReadOverlayMarks(handle.get(), st, path, xattrs_); !marks)
    return std::move(marks).error();
  ++seen_;
  if (merged.beneath == Beneath::kBase) {
    WRIT_ASSIGN(std::optional<BaseTree::Entry> base, state_.base_tree->Find(path));
    if (base && base->mode == kModeTree) WRIT_TRY(HideBase(path));
  }
  TreeEntry entry = EntryOf(path, st);
  WRIT_ASSIGN(std::optional<InputFile> input, state_.FindInput(path));
  if (!input) {
    if (IsIgnored(merged.folder, path, IgnoreRules::Kind::kFile)) {
      NoteIgnored(path);
      return {};
    }
    if (entry.kind != TreeEntry::Kind::kOther) told_.insert(path);
    return visit(entry);
  }
  if (entry.kind == TreeEntry::Kind::kOther) {  // and the input's file is gone
    hidden_.insert(path);
    return visit(entry);
  }
  told_.insert(path);
  bool racy = input->stamp.ctime_ns >= state_.snapshot_ns;
  if (!racy && input->stamp == FileStamp::Of(st)) return {};
  return visit(entry);
}

Status UpperWalk::HideBase(const std::string& path) {
  auto visited =
      state_.base_tree->ForEachFile(path, [this](const TreeItem& item) -> Result<Visiting> {
        WRIT_TRY(CountEntry(item.path));
        hidden_.insert(item.path);
        return Visiting::kGoOn;
      });
  if (!visited) return std::move(visited).error();
  return {};
}

// A file of the base that the input does not have: we covered it, and whatever a job does,
// something covers it still.
Status UpperWalk::CheckHidden(const std::string& path) const {
  WRIT_ASSIGN(std::optional<TreeItem> base, state_.FindBase(path));
  if (!base) return {};
  struct stat st {};
  auto there = OpenBeneath(root_, path, O_PATH);
  bool covered = there && ::fstat(there->get(), &st) == 0;
  if (covered || IsHiddenBelow(root_, path, xattrs_)) return {};
  return Forged(path, "does not cover any more what the input lacks");
}

}  // namespace writ::workspace
