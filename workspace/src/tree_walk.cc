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
  TreeEntry entry = EntryOf(path, st);
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

}  // namespace writ::workspace
