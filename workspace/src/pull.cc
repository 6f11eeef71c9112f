#include "writ/workspace/pull.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "checkout_scan.h"
#include "object_writer.h"
#include "patch_tree.h"
#include "repository_files.h"
#include "repository_owner.h"
#include "tree_listing.h"
#include "worktree_change.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"
#include "writ/workspace/path_rules.h"
#include "writ/workspace/quoted_path.h"

namespace writ::workspace {
namespace {

class Puller {
 public:
  explicit Puller(const PullOptions& options) : options_(options) {}

  Result<PullResult> Run() {
    WRIT_TRY(CheckRunId());
    WRIT_ASSIGN(delta_, ParsePatch(options_.delta.value_or(options_.diff), limits_));
    if (delta_.empty())
      return PullResult{.outcome = PullResult::Outcome::kNothingToDo,
                        .reason = "the run changed no file"};
    WRIT_ASSIGN(repository_, FindRepository(options_.repository));
    if (auto owner = CheckOwner(repository_); !owner) return std::move(owner).error();
    WRIT_ASSIGN(root_, OpenDirectory(repository_.root));
    WRIT_ASSIGN(bool applied, IsApplied());
    if (applied)
      return Tell(PullResult::Outcome::kAlreadyApplied,
                  "the checkout has the run's output already");
    WRIT_ASSIGN(objects_, OdbSource::Open(repository_));
    // A run that started from the commit alone made the same change to both.
    if (!options_.delta &&
        (options_.manifest->dirty_diff_hash || !options_.manifest->untracked_files.empty()))
      return LandOnBranch("its runner tells only the whole output");
    WRIT_ASSIGN(std::string difference, DifferenceToInput());
    if (!difference.empty()) return LandOnBranch(difference);
    return ApplyInPlace();
  }

 private:
  // The id becomes a branch's name and a folder's.
  Status CheckRunId() const {
    const std::string& id = options_.run_id.text();
    if (!id.empty() && id.find("..") == std::string::npos && !id.ends_with(".lock") &&
        !id.ends_with('.'))
      return {};
    return Error{.kind = ErrorKind::kInvalid,
                 .code = "pull.run_id",
                 .message = "the run's id cannot be the name of a branch"};
  }

  PullResult Tell(PullResult::Outcome outcome, std::string reason) const {
    PullResult result{.outcome = outcome, .reason = std::move(reason)};
    for (const PatchFile& file : delta_) {
      const std::string& path = file.new_path.empty() ? file.old_path : file.new_path;
      if (result.changed_paths.empty() || result.changed_paths.back() != path)
        result.changed_paths.push_back(path);
    }
    return result;
  }

  // Every path of the delta stands as the delta leaves it.
  Result<bool> IsApplied() const {
    std::map<std::string, const PatchFile*> last;  // of a removal and an addition, the addition
    for (const PatchFile& file : delta_) {
      if (file.new_path.empty()) {
        last.try_emplace(file.old_path, &file);
      } else {
        last[file.new_path] = &file;
      }
    }
    for (const auto& [path, file] : last) {
      if (!IsSafeTreePath(path)) return false;
      WRIT_ASSIGN(auto now, LookAt(root_.get(), path));
      if (file->new_path.empty()) {
        if (now && now->mode != 0) return false;
        continue;
      }
      if (!now || (file->new_mode != 0 && now->mode != file->new_mode) ||
          (!file->new_id.empty() && !IdHasPrefix(now->id, file->new_id)))
        return false;
    }
    return true;
  }

  // "" where the checkout is the captured input, else what is different, as a sentence.
  Result<std::string> DifferenceToInput() const {
    const protocol::Manifest& manifest = *options_.manifest;
    if (repository_.head.Hex() != manifest.base_ref.text())
      return std::string("HEAD is another commit than the one that the run started from");
    WRIT_ASSIGN(CheckoutState state, ScanCheckout(repository_, *objects_,
                                                  {.denied_patterns = manifest.denied_patterns,
                                                   .allow_untracked = {},
                                                   .max_diff_bytes = std::uint64_t{1} << 30}));
    std::optional<protocol::Digest> now;
    if (!state.diff.empty()) now = protocol::Sha256(state.diff);
    if (now != manifest.dirty_diff_hash)
      return std::string("the uncommitted change is another one than the run started from");
    for (const protocol::UntrackedFile& file : manifest.untracked_files) {
      auto content = ReadCheckoutFile(root_.get(), file.path.text(), std::uint64_t{2} << 30);
      if (!content || protocol::Sha256(*content) != file.hash)
        return "the untracked file '" + QuotePath(file.path.text()) +
               "' is not as the run started from";
    }
    return std::string();
  }

  Result<PullResult> ApplyInPlace() {
    // The input tree, as far as the delta touches it, is what stands in the checkout.
    TreeListing touched;
    for (const PatchFile& file : delta_) {
      if (file.old_path.empty() || FindInUnsorted(touched, file.old_path)) continue;
      if (!IsSafeTreePath(file.old_path)) return Conflict(file.old_path);
      WRIT_ASSIGN(auto now, LookAt(root_.get(), file.old_path));
      if (!now || now->mode == 0) {
        if (file.old_mode == kModeGitlink || file.new_mode == kModeGitlink) continue;
        return LandOnBranch("'" + QuotePath(file.old_path) + "' is not there any more");
      }
      touched.push_back(*now);
    }
    std::sort(touched.begin(), touched.end(),
              [](const TreeItem& a, const TreeItem& b) { return a.path < b.path; });
    std::vector<PatchFile> files;  // a submodule's pointer has no file to change
    for (const PatchFile& file : delta_)
      if (file.old_mode != kModeGitlink && file.new_mode != kModeGitlink) files.push_back(file);
    auto changes = ApplyPatchToTree(InListing(touched), files, limits_,
                                    [this](const TreeItem& item) { return Content(item); });
    if (!changes)
      return LandOnBranch("the change does not fit the files: " + changes.error().message);
    FileChanges plan;
    for (auto& [path, change] : *changes) {
      FileChange& step = plan[path];
      if (const TreeItem* before = FindInListing(touched, path)) step.before = *before;
      if (change) {
        step.after = change->item;
        step.content = std::move(change->content);
      }
      if (step.before) continue;
      WRIT_ASSIGN(auto in_the_way, LookAt(root_.get(), path));
      if (in_the_way && in_the_way->mode != 0)
        return LandOnBranch("'" + QuotePath(path) + "' is in the way");
    }
    Status applied = ApplyToWorktree(repository_, "writ-pull-" + options_.run_id.text(), plan);
    if (!applied) {
      if (applied.error().code == "pull.interrupted") return std::move(applied).error();
      return LandOnBranch(applied.error().message);
    }
    return Tell(PullResult::Outcome::kAppliedInPlace,
                "the checkout was as the run found it, so the change was applied to its files");
  }

  static bool FindInUnsorted(const TreeListing& listing, const std::string& path) {
    return std::any_of(listing.begin(), listing.end(),
                       [&](const TreeItem& item) { return item.path == path; });
  }

  static Error Conflict(const std::string& path) {
    return Error{.kind = ErrorKind::kInvalid,
                 .code = "workspace.hostile_path",
                 .message = "the output names '" + QuotePath(path) + "', which git would refuse"};
  }

  Result<std::string> Content(const TreeItem& item) const {
    if (item.mode != kModeSymlink)
      return ReadCheckoutFile(root_.get(), item.path, limits_.max_file_bytes);
    WRIT_ASSIGN(UniqueFd link, OpenBeneath(root_.get(), item.path, O_PATH));
    std::string target(4097, '\0');
    ssize_t n = ::readlinkat(link.get(), "", target.data(), target.size());
    if (n < 0) return SysError(errno, "workspace.unreadable", "cannot read a link");
    target.resize(static_cast<std::size_t>(n));
    return target;
  }

  Result<PullResult> LandOnBranch(const std::string& reason) {
    auto base = ObjectId::FromHex(options_.manifest->base_ref.text());
    if (!base || !objects_->Has(*base))
      return Error{.kind = ErrorKind::kNotFound,
                   .code = "pull.base_missing",
                   .message = "the commit that the run started from is not in this repository",
                   .hint = "pull in the repository that the run was made from"};
    WRIT_ASSIGN(std::string commit, ReadTyped(*objects_, *base, ObjectType::kCommit));
    WRIT_ASSIGN(CommitInfo info, ParseCommit(commit));
    WRIT_ASSIGN(TreeListing listing, ListTree(*objects_, info.tree, {}));
    WRIT_ASSIGN(std::vector<PatchFile> diff, ParsePatch(options_.diff, limits_));
    WRIT_ASSIGN(TreeChanges changes,
                ApplyPatchToTree(InListing(listing), diff, limits_, [this](const TreeItem& item) {
                  if (item.mode == kModeGitlink)
                    return Result<std::string>("Subproject commit " + item.id.Hex() + "\n");
                  return ReadTyped(*objects_, item.id, ObjectType::kBlob);
                }));
    std::map<std::string, TreeItem> final;
    for (TreeItem& item : listing) final.emplace(item.path, std::move(item));
    for (const auto& [path, change] : changes) {
      final.erase(path);
      if (!change) continue;
      final.emplace(path, change->item);
      if (change->item.mode != kModeGitlink)
        if (auto written = objects_->Write(ObjectType::kBlob, change->content); !written)
          return std::move(written).error();
    }
    listing.clear();
    for (auto& [path, item] : final) listing.push_back(std::move(item));
    WRIT_ASSIGN(ObjectId tree, WriteTrees(*objects_, listing));

    PullResult result = Tell(PullResult::Outcome::kLandedOnBranch,
                             reason + ", so the output is on a branch of its own");
    result.branch = "refs/heads/writ/" + options_.run_id.text();
    WRIT_ASSIGN(auto there, ReadRef(repository_, result.branch));
    if (there) {
      auto text = ReadTyped(*objects_, *there, ObjectType::kCommit);
      if (text) {
        WRIT_ASSIGN(CommitInfo existing, ParseCommit(*text));
        if (existing.tree == tree) {
          result.outcome = PullResult::Outcome::kAlreadyApplied;
          result.commit = there->Hex();
          result.reason = "the branch has the run's output already";
          return result;
        }
      }
    }
    WRIT_ASSIGN(ObjectId made, WriteCommit(*objects_, tree, *base, options_.commit_time,
                                           "Output of run " + options_.run_id.text() + "\n"));
    WRIT_TRY(CreateRef(repository_, result.branch, made));
    result.commit = made.Hex();
    return result;
  }

  const PullOptions& options_;
  PatchLimits limits_;
  std::vector<PatchFile> delta_;
  RepositoryFiles repository_;
  UniqueFd root_;
  std::unique_ptr<OdbSource> objects_;
};

}  // namespace

Result<PullResult> Pull(const PullOptions& options) {
  return Puller(options).Run();
}

}  // namespace writ::workspace
