#include "base_tree.h"

#include <algorithm>

#include "tree_listing.h"
#include "writ/workspace/path_rules.h"

namespace writ::workspace {
namespace {

Error Damaged() {
  return Error{.kind = ErrorKind::kIntegrity,
               .code = "cache.damaged",
               .message = "a folder of the base tree is not as it was when it was checked"};
}

}  // namespace

Result<const BaseTree::Folder*> BaseTree::Open(const ObjectId& tree) const {
  auto known = folders_.find(tree);
  if (known != folders_.end()) return known->second.get();
  WRIT_ASSIGN(std::string content, ReadTyped(source_, tree, ObjectType::kTree));
  auto folder = std::make_unique<Folder>();
  for (std::string_view bytes = content; !bytes.empty();) {
    RawTreeEntry raw;
    if (!TakeTreeEntry(bytes, raw)) return Damaged();
    std::uint32_t mode = TreeModeOf(raw.mode);
    if (mode == 0 || !IsSafeTreeName(raw.name)) return Damaged();
    folder->push_back({std::string(raw.name), mode, raw.id});
  }
  std::sort(folder->begin(), folder->end(),
            [](const Entry& a, const Entry& b) { return a.name < b.name; });
  return (folders_[tree] = std::move(folder)).get();
}

Result<std::optional<BaseTree::Entry>> BaseTree::Find(std::string_view path) const {
  Entry at = root_;
  for (std::size_t begin = 0; begin < path.size();) {
    if (at.mode != kModeTree) return std::optional<Entry>();
    std::size_t end = std::min(path.find('/', begin), path.size());
    std::string_view name = path.substr(begin, end - begin);
    WRIT_ASSIGN(const Folder* folder, Open(at.id));
    auto found =
        std::lower_bound(folder->begin(), folder->end(), name,
                         [](const Entry& entry, std::string_view n) { return entry.name < n; });
    if (found == folder->end() || found->name != name) return std::optional<Entry>();
    at = *found;
    begin = end + 1;
  }
  return std::optional<Entry>(std::move(at));
}

Result<std::optional<TreeItem>> BaseTree::FindFile(const std::string& path) const {
  WRIT_ASSIGN(std::optional<Entry> entry, Find(path));
  if (!entry || entry->mode == kModeTree) return std::optional<TreeItem>();
  return std::optional<TreeItem>(TreeItem{path, entry->mode, entry->id});
}

Result<Visiting> BaseTree::ForEachFile(const std::string& path, const Visit& visit) const {
  WRIT_ASSIGN(std::optional<Entry> entry, Find(path));
  if (!entry) return Visiting::kGoOn;
  return Below(path, *entry, 0, visit);
}

Result<Visiting> BaseTree::Below(const std::string& path, const Entry& entry, std::size_t depth,
                                 const Visit& visit) const {
  if (entry.mode != kModeTree) return visit(TreeItem{path, entry.mode, entry.id});
  if (depth > kMaxPathDepth) return Damaged();
  WRIT_ASSIGN(const Folder* folder, Open(entry.id));
  for (const Entry& child : *folder) {
    std::string below = path.empty() ? child.name : path + "/" + child.name;
    WRIT_ASSIGN(Visiting visiting, Below(below, child, depth + 1, visit));
    if (visiting == Visiting::kStop) return visiting;
  }
  return Visiting::kGoOn;
}

}  // namespace writ::workspace
