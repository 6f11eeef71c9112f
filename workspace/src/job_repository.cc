#include "job_repository.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "index_writer.h"
#include "tree_writer.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/workspace/quoted_path.h"

namespace writ::workspace {
namespace {

constexpr std::string_view kConfig =
    "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n"
    "\tlogallrefupdates = true\n[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n";

Status WriteNew(int dir, const std::string& name, std::string_view bytes) {
  UniqueFd fd(
      ::openat(dir, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!fd) return SysError(errno, "workspace.write_failed", "cannot write the job's repository");
  return WriteAll(fd.get(), bytes);
}

std::vector<std::string> Names(int git, const std::string& folder) {
  std::vector<std::string> names;
  auto fd = OpenBeneath(git, folder, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
  if (!fd) return names;
  DIR* stream = ::fdopendir(fd->get());
  if (stream == nullptr) return names;
  (void)fd->release();
  while (dirent* entry = ::readdir(stream)) {
    std::string_view name = entry->d_name;
    if (name != "." && name != ".." && names.size() < 100) names.emplace_back(name);
  }
  ::closedir(stream);
  return names;
}

enum class Compared { kSame, kDiffers, kAbsent };

// Only regular files are opened for reading: a FIFO would hang, a device would answer.
Compared CompareFile(int git, const std::string& path, std::string_view expected) {
  auto probe = OpenBeneath(git, path, O_PATH);
  if (!probe) return probe.error().sys_errno == ENOENT ? Compared::kAbsent : Compared::kDiffers;
  struct stat st {};
  if (::fstat(probe->get(), &st) != 0 || !S_ISREG(st.st_mode)) return Compared::kDiffers;
  if (static_cast<std::uint64_t>(st.st_size) != expected.size()) return Compared::kDiffers;
  auto fd = OpenBeneath(git, path, O_RDONLY | O_NONBLOCK);
  if (!fd) return Compared::kDiffers;
  auto bytes = ReadAll(fd->get(), 1 << 20);
  return bytes && *bytes == expected ? Compared::kSame : Compared::kDiffers;
}

}  // namespace

Status WriteJobRepository(int target, const std::optional<JobOwner>& owner, InputState& state) {
  FileSystemIds ids;
  if (owner) WRIT_TRY(ids.Take(*owner));
  state.config_text = kConfig;
  state.alternates_text = state.entry->objects_directory() + "\n";
  WRIT_ASSIGN(UniqueFd git, MakeDirectoriesBeneath(target, ".git", 0755));
  for (const char* folder : {"objects/pack", "refs/tags", "hooks"})
    if (auto made = MakeDirectoriesBeneath(git.get(), folder, 0755); !made)
      return std::move(made).error();
  WRIT_ASSIGN(UniqueFd heads, MakeDirectoriesBeneath(git.get(), "refs/heads", 0755));
  WRIT_ASSIGN(UniqueFd info, MakeDirectoriesBeneath(git.get(), "objects/info", 0755));
  WRIT_TRY(WriteNew(info.get(), "alternates", state.alternates_text));
  WRIT_TRY(WriteNew(git.get(), "config", state.config_text));
  WRIT_TRY(WriteNew(git.get(), "HEAD", "ref: " + std::string(kJobBranch) + "\n"));
  WRIT_TRY(WriteNew(heads.get(), std::string(kJobBranch.substr(11)), state.base_ref + "\n"));

  std::vector<IndexEntry> entries;
  entries.reserve(state.base.size());
  auto input = state.input.begin();
  for (const TreeItem& item : state.base) {
    while (input != state.input.end() && input->item.path < item.path) ++input;
    bool same = input != state.input.end() && input->item == item;
    entries.push_back({&item, same && item.mode != kModeGitlink ? &*input : nullptr});
  }
  return WriteNew(
      git.get(), "index",
      FormatIndex(entries, owner ? owner->uid : ::geteuid(), owner ? owner->gid : ::getegid()));
}

std::vector<Finding> InspectJobRepository(int tree, const InputState& state) {
  std::vector<Finding> findings;
  auto add = [&](std::string code, std::string path, std::string detail) {
    findings.push_back({"workspace." + std::move(code), std::move(path), std::move(detail)});
  };
  struct stat st {};
  if (::fstatat(tree, ".git", &st, AT_SYMLINK_NOFOLLOW) != 0) {
    add("git_replaced", ".git", "the job removed its repository");
    return findings;
  }
  if (!S_ISDIR(st.st_mode)) {
    add("git_replaced", ".git", "the job replaced its repository by something that is no folder");
    return findings;
  }
  auto git = OpenBeneath(tree, ".git", O_RDONLY | O_DIRECTORY);
  if (!git) {
    add("git_replaced", ".git", "the job's repository cannot be opened");
    return findings;
  }
  int dir = git->get();
  if (CompareFile(dir, "config", state.config_text) != Compared::kSame)
    add("git_config_changed", ".git/config", "the job changed its repository's configuration");
  if (CompareFile(dir, "config.worktree", "") != Compared::kAbsent)
    add("git_config_changed", ".git/config.worktree", "the job added a worktree configuration");
  if (CompareFile(dir, "commondir", "") != Compared::kAbsent)
    add("git_replaced", ".git/commondir", "the job pointed its repository at another one");
  if (CompareFile(dir, "objects/info/alternates", state.alternates_text) != Compared::kSame)
    add("git_alternates_changed", ".git/objects/info/alternates",
        "the job changed where its repository borrows objects from");
  if (CompareFile(dir, "info/attributes", "") != Compared::kAbsent)
    add("git_attributes_planted", ".git/info/attributes", "the job planted attributes");
  if (CompareFile(dir, "info/exclude", "") != Compared::kAbsent)
    add("git_exclude_planted", ".git/info/exclude", "the job planted ignore rules; not used here");
  for (const std::string& hook : Names(dir, "hooks"))
    add("git_hook_planted", ".git/hooks/" + hook, "the job planted a hook");
  for (const char* folder : {"modules", "worktrees"})
    if (!Names(dir, folder).empty())
      add("git_nested_state", std::string(".git/") + folder,
          "the job's repository holds other repositories' state; it is not carried");
  if (CompareFile(dir, "HEAD", "ref: " + std::string(kJobBranch) + "\n") != Compared::kSame ||
      CompareFile(dir, std::string(kJobBranch), state.base_ref + "\n") != Compared::kSame)
    add("commits_made", ".git",
        "the job moved its branch or HEAD; its files are carried, its commits are not");
  return findings;
}

}  // namespace writ::workspace
