#include "job_repository.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "index_writer.h"
#include "input_state.h"
#include "tree_writer.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/workspace/quoted_path.h"

namespace writ::workspace {
namespace {

Status WriteNew(int git, const std::string& path, std::string_view bytes) {
  auto fd = OpenBeneath(git, path, O_WRONLY | O_CREAT | O_EXCL, 0644);
  if (!fd) return std::move(fd).error().With("writing the job's repository");
  return WriteAll(fd->get(), bytes);
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

JobRepositoryText TextOfRepository(const std::string& objects_directory,
                                   const std::string& base_ref, StatTrust trust) {
  std::string core =
      "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n"
      "\tlogallrefupdates = true\n";
  if (trust == StatTrust::kMinimal) core += "\tcheckStat = minimal\n";
  return {.config = core + "[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n",
          .alternates = objects_directory + "\n",
          .base_ref = base_ref};
}

std::vector<RepositoryPart> PartsOfRepository(const JobRepositoryText& text) {
  return {{"objects", {}},
          {"objects/pack", {}},
          {"objects/info", {}},
          {"objects/info/alternates", text.alternates},
          {"refs", {}},
          {"refs/tags", {}},
          {"refs/heads", {}},
          {std::string(kJobBranch), text.base_ref + "\n"},
          {"hooks", {}},
          {"config", text.config},
          {"HEAD", "ref: " + std::string(kJobBranch) + "\n"}};
}

Status WriteRepository(int target, const JobRepositoryText& text, std::string_view index) {
  WRIT_ASSIGN(UniqueFd git, MakeDirectoriesBeneath(target, ".git", 0755));
  for (const RepositoryPart& part : PartsOfRepository(text)) {
    if (!part.text) {
      if (auto made = MakeDirectoriesBeneath(git.get(), part.path, 0755); !made)
        return std::move(made).error();
      continue;
    }
    WRIT_TRY(WriteNew(git.get(), part.path, *part.text));
  }
  return WriteNew(git.get(), "index", index);
}

Status WriteJobRepository(int target, const std::optional<JobOwner>& owner, InputState& state) {
  FileSystemIds ids;
  if (owner) WRIT_TRY(ids.Take(*owner));
  state.repository =
      TextOfRepository(state.entry->objects_directory(), state.base_ref, StatTrust::kFull);
  std::vector<IndexEntry> entries;
  entries.reserve(state.base.size());
  auto input = state.input.begin();
  for (const TreeItem& item : state.base) {
    while (input != state.input.end() && input->item.path < item.path) ++input;
    bool same = input != state.input.end() && input->item == item;
    entries.push_back({&item, same && item.mode != kModeGitlink ? &*input : nullptr});
  }
  return WriteRepository(
      target, state.repository,
      FormatIndex(entries, owner ? owner->uid : ::geteuid(), owner ? owner->gid : ::getegid()));
}

std::vector<Finding> InspectJobRepository(int tree, const JobRepositoryText& text,
                                          std::optional<OverlayXattrs> xattrs) {
  std::vector<Finding> findings;
  auto add = [&](std::string code, std::string path, std::string detail) {
    findings.push_back({"workspace." + std::move(code), std::move(path), std::move(detail)});
  };
  struct stat st {};
  if (::fstatat(tree, ".git", &st, AT_SYMLINK_NOFOLLOW) != 0) {
    if (xattrs) return findings;  // never touched
    add("git_replaced", ".git", "the job removed its repository");
    return findings;
  }
  if (xattrs && IsWhiteout(st)) {
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
  // What a fresh repository has, and has not.
  auto kept = [&](const std::string& path, std::string_view expected) {
    Compared compared = CompareFile(dir, path, expected);
    if (compared == Compared::kAbsent && xattrs && !IsHiddenBelow(dir, path, *xattrs)) return true;
    return compared == Compared::kSame;
  };
  if (!kept("config", text.config))
    add("git_config_changed", ".git/config", "the job changed its repository's configuration");
  if (CompareFile(dir, "config.worktree", "") != Compared::kAbsent)
    add("git_config_changed", ".git/config.worktree", "the job added a worktree configuration");
  if (CompareFile(dir, "commondir", "") != Compared::kAbsent)
    add("git_replaced", ".git/commondir", "the job pointed its repository at another one");
  if (!kept("objects/info/alternates", text.alternates))
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
  if (!kept("HEAD", "ref: " + std::string(kJobBranch) + "\n") ||
      !kept(std::string(kJobBranch), text.base_ref + "\n"))
    add("commits_made", ".git",
        "the job moved its branch or HEAD; its files are carried, its commits are not");
  return findings;
}

}  // namespace writ::workspace
