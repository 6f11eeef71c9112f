#include "patch_tree.h"

#include "tree_listing.h"
#include "writ/workspace/path_rules.h"
#include "writ/workspace/quoted_path.h"

namespace writ::workspace {
namespace {

Error DoesNotApply(std::string why) {
  return Error{.kind = ErrorKind::kInvalid,
               .code = "workspace.diff_does_not_apply",
               .message = "the diff does not fit its base: " + std::move(why)};
}

Result<ObjectId> GitlinkTarget(std::string_view line) {
  constexpr std::string_view kWords = "Subproject commit ";
  auto id =
      line.starts_with(kWords) ? ObjectId::FromHex(line.substr(kWords.size(), 40)) : std::nullopt;
  if (!id) return DoesNotApply("a submodule's change cannot be read");
  return *id;
}

class TreePatcher {
 public:
  TreePatcher(const FindItem& base, const PatchLimits& limits,
              const std::function<Result<std::string>(const TreeItem&)>& content)
      : base_(base), limits_(limits), content_(content) {}

  Result<TreeChanges> Run(const std::vector<PatchFile>& patch) {
    // First everything that goes, then everything that comes: a link may become a folder.
    for (const PatchFile& file : patch) {
      if (file.change == PatchFile::Change::kAdd) continue;
      WRIT_ASSIGN(std::optional<TreeItem> old, base_(file.old_path));
      if (!old) return DoesNotApply("there is no '" + QuotePath(file.old_path) + "'");
      if (file.change == PatchFile::Change::kCopy) continue;
      if (!changes_.try_emplace(file.old_path).second)
        return DoesNotApply("'" + QuotePath(file.old_path) + "' is changed twice");
    }
    for (const PatchFile& file : patch) WRIT_TRY(ApplyOne(file));
    return std::move(changes_);
  }

 private:
  Status ApplyOne(const PatchFile& file) {
    using Change = PatchFile::Change;
    std::optional<TreeItem> old;
    if (file.change != Change::kAdd) {
      WRIT_ASSIGN(old, base_(file.old_path));
    }
    if (old && file.old_mode != 0 && file.old_mode != old->mode)
      return DoesNotApply("'" + QuotePath(file.old_path) + "' has another mode");
    std::uint32_t mode = file.new_mode != 0 ? file.new_mode : old ? old->mode : kModeRegular;
    bool gitlink = mode == kModeGitlink || (old && old->mode == kModeGitlink);
    std::string before;
    if (old) {
      WRIT_ASSIGN(before, content_(*old));
    }
    PatchFile text = file;  // a gitlink's ids are commits, not the hash of its line
    if (gitlink) text.old_id = text.new_id = "";
    auto applied = ApplyToContent(text, before, limits_);
    if (!applied) return std::move(applied).error().With("applying a diff");
    if (file.change == Change::kDelete) return {};
    if (!IsSafeTreePath(file.new_path))
      return Error{.kind = ErrorKind::kInvalid,
                   .code = "workspace.hostile_path",
                   .message = "the diff writes to '" + QuotePath(file.new_path) +
                              "', which git would refuse"};
    ChangedItem changed{{file.new_path, mode, {}}, {}};
    if (gitlink) {
      WRIT_ASSIGN(changed.item.id, GitlinkTarget(*applied));
    } else {
      changed.item.id = ObjectId::OfBlob(*applied);
      changed.content = std::move(*applied);
    }
    auto slot = changes_.find(file.new_path);
    bool taken = slot != changes_.end() && slot->second.has_value();
    if (slot == changes_.end()) {
      WRIT_ASSIGN(std::optional<TreeItem> there, base_(file.new_path));
      taken = there.has_value();
    }
    if (taken) return DoesNotApply("'" + QuotePath(file.new_path) + "' is there already");
    changes_[file.new_path] = std::move(changed);
    return {};
  }

  const FindItem& base_;
  const PatchLimits& limits_;
  const std::function<Result<std::string>(const TreeItem&)>& content_;
  TreeChanges changes_;
};

}  // namespace

FindItem InListing(const TreeListing& listing) {
  return [&listing](const std::string& path) -> Result<std::optional<TreeItem>> {
    const TreeItem* item = FindInListing(listing, path);
    return item != nullptr ? std::optional(*item) : std::nullopt;
  };
}

Result<TreeChanges> ApplyPatchToTree(
    const FindItem& base, const std::vector<PatchFile>& patch, const PatchLimits& limits,
    const std::function<Result<std::string>(const TreeItem&)>& content) {
  return TreePatcher(base, limits, content).Run(patch);
}

}  // namespace writ::workspace
