#include "untracked_walk.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/protocol/names.h"
#include "writ/workspace/ignore_rules.h"
#include "writ/workspace/path_rules.h"
#include "writ/workspace/quoted_path.h"

namespace writ::workspace {
namespace {

bool IsLiteral(std::string_view pattern) {
  return pattern.find_first_of("*?[\\") == std::string_view::npos;
}

class Walker {
 public:
  Walker(const UntrackedWalk& walk, CheckoutState& state) : walk_(walk), state_(state) {
    for (const std::string& path : walk.tracked)
      for (std::size_t slash = path.rfind('/'); slash != std::string::npos && slash > 0;
           slash = path.rfind('/', slash - 1))
        if (!tracked_folders_.insert(path.substr(0, slash)).second) break;
  }

  Status Run() {
    if (auto exclude = ReadFile(walk_.git_dir + "/info/exclude", 1 << 20))
      rules_.AddFile("", *exclude);
    todo_.push_back({});
    while (!todo_.empty()) {
      Folder folder = std::move(todo_.back());
      todo_.pop_back();
      WRIT_TRY(TakeFolder(folder));
    }
    std::sort(state_.untracked.begin(), state_.untracked.end());
    for (const std::string& pattern : walk_.allow)
      if (!used_.contains(pattern))
        Report("pattern_unused", pattern, "no untracked file that may be taken along matches this");
    return {};
  }

 private:
  struct Folder {
    std::string path;
    bool ignored = false;
  };

  void Report(std::string code, const std::string& path, std::string detail) {
    state_.findings.push_back({"workspace." + std::move(code), path, std::move(detail)});
  }

  Status TakeFolder(const Folder& folder) {
    auto dir = folder.path.empty() ? Reopen()
                                   : OpenBeneath(walk_.root, folder.path, O_RDONLY | O_DIRECTORY);
    if (!dir) {
      Report("unreadable", folder.path, "the folder cannot be read; nothing in it is captured");
      return {};
    }
    std::vector<std::pair<std::string, unsigned char>> names;
    DIR* stream = ::fdopendir(dir->get());
    if (stream == nullptr) return SysError(errno, "workspace.unreadable", "cannot list a folder");
    int fd = dir->release();
    bool has_git = false;
    while (dirent* entry = ::readdir(stream)) {
      std::string name = entry->d_name;
      if (name == "." || name == "..") continue;
      has_git = has_git || name == ".git";
      unsigned char type = entry->d_type;
      struct stat st {};
      if (type == DT_UNKNOWN && ::fstatat(fd, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0)
        type = S_ISDIR(st.st_mode) ? DT_DIR : S_ISREG(st.st_mode) ? DT_REG : DT_LNK;
      names.emplace_back(std::move(name), type);
    }
    ::closedir(stream);
    bool is_root = folder.path.empty();
    if (has_git && !is_root && !tracked_folders_.contains(folder.path)) {
      Report("nested_repository", folder.path, "a repository within the checkout is not captured");
      return {};
    }
    rules_.LeaveTo(folder.path);
    std::string prefix = is_root ? "" : folder.path + "/";
    if (auto text = ReadCheckoutFile(walk_.root, prefix + ".gitignore", 1 << 20))
      rules_.AddFile(folder.path, *text);
    for (const auto& [name, type] : names) {
      if (name == ".git") continue;
      std::string path = prefix + name;
      if (type == DT_DIR) {
        TakeSubfolder(folder, path);
      } else if (!walk_.tracked.contains(path)) {
        TakeFile(folder, path, type);
      }
    }
    return {};
  }

  Result<UniqueFd> Reopen() const {
    UniqueFd fd(::openat(walk_.root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd) return SysError(errno, "workspace.unreadable", "cannot list the checkout");
    return fd;
  }

  void TakeSubfolder(const Folder& folder, const std::string& path) {
    if (walk_.submodules.contains(path)) return;
    bool ignored = folder.ignored || rules_.Match(path, IgnoreRules::Kind::kDirectory) ==
                                         IgnoreRules::Verdict::kIgnored;
    // Into an ignored folder only for what is tracked or named in it.
    bool wanted = !ignored || tracked_folders_.contains(path);
    for (const std::string& pattern : walk_.allow)
      wanted = wanted || (IsLiteral(pattern) && pattern.starts_with(path + "/"));
    if (wanted && path.size() <= kMaxPathBytes) todo_.push_back({path, ignored});
  }

  void TakeFile(const Folder& folder, const std::string& path, unsigned char type) {
    if (IsDenied(walk_.denied, path)) {
      state_.denied_paths.push_back(path);
      return;
    }
    bool ignored = folder.ignored ||
                   rules_.Match(path, IgnoreRules::Kind::kFile) == IgnoreRules::Verdict::kIgnored;
    bool allowed = false;
    for (const std::string& pattern : walk_.allow) {
      const bool matches = ignored && IsLiteral(pattern)
                               ? pattern == path
                               : !ignored && PathGlobMatches(pattern, path);
      if (matches) used_.insert(pattern);
      allowed |= matches;
    }
    if (!allowed) return;
    if (type != DT_REG) {
      Report("special_file", path, "only regular untracked files are captured");
    } else if (!protocol::WorkspacePath::Parse(path) || !IsSafeTreePath(path)) {
      Report("name_not_carried", path, "its name cannot stand in a manifest; commit it instead");
    } else {
      state_.untracked.push_back(path);
    }
  }

  const UntrackedWalk& walk_;
  CheckoutState& state_;
  std::unordered_set<std::string> tracked_folders_;
  std::unordered_set<std::string> used_;  // of the patterns, those that a file matched
  IgnoreRules rules_;
  std::vector<Folder> todo_;
};

}  // namespace

Status WalkUntrackedFiles(const UntrackedWalk& walk, CheckoutState& state) {
  return Walker(walk, state).Run();
}

}  // namespace writ::workspace
