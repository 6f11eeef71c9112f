// A whole diff against a whole tree: what it removes, and what it leaves with which content. Pure
// but for the contents that it asks for.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "writ/workspace/patch.h"

namespace writ::workspace {

struct ChangedItem {
  TreeItem item{};
  std::string content{};  // empty for gitlinks
};
using TreeChanges = std::map<std::string, std::optional<ChangedItem>>;  // nullopt: removed

// The file at a path of the base tree; nullopt where there is none.
using FindItem = std::function<Result<std::optional<TreeItem>>(const std::string& path)>;
// `listing` is borrowed for as long as the function lives.
FindItem InListing(const TreeListing& listing);

// kInvalid "workspace.diff_does_not_apply" where the diff is not one of `base`,
// "workspace.hostile_path" where it names a path that git would refuse.
Result<TreeChanges> ApplyPatchToTree(
    const FindItem& base, const std::vector<PatchFile>& patch, const PatchLimits& limits,
    const std::function<Result<std::string>(const TreeItem&)>& content);

}  // namespace writ::workspace
