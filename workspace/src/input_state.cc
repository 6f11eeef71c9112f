#include "input_state.h"

#include <fcntl.h>

#include <algorithm>

#include "pack_store.h"
#include "tree_listing.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::workspace {

Result<std::optional<TreeItem>> InputState::FindBase(const std::string& path) const {
  if (IsOverlay()) return base_tree->FindFile(path);
  const TreeItem* item = FindInListing(base, path);
  return item != nullptr ? std::optional(*item) : std::nullopt;
}

Result<std::optional<InputFile>> InputState::FindInput(const std::string& path) const {
  if (IsOverlay()) {
    if (auto change = changes.find(path); change != changes.end()) return change->second;
    WRIT_ASSIGN(std::optional<TreeItem> item, base_tree->FindFile(path));
    if (!item) return std::optional<InputFile>();
    return std::optional<InputFile>(InputFile{.item = std::move(*item), .stamp = {}});
  }
  auto at = std::lower_bound(
      input.begin(), input.end(), path,
      [](const InputFile& file, std::string_view p) { return file.item.path < p; });
  return at != input.end() && at->item.path == path ? std::optional(*at) : std::nullopt;
}

Result<bool> InputState::InputHasBelow(const std::string& path) const {
  std::string prefix = path + "/";
  if (!IsOverlay()) {
    auto below = std::lower_bound(
        input.begin(), input.end(), prefix,
        [](const InputFile& file, const std::string& p) { return file.item.path < p; });
    return below != input.end() && below->item.path.starts_with(prefix);
  }
  for (auto change = changes.lower_bound(prefix);
       change != changes.end() && change->first.starts_with(prefix); ++change)
    if (change->second) return true;
  // Stops at the first file that the changes do not take away.
  WRIT_ASSIGN(std::optional<BaseTree::Entry> folder, base_tree->Find(path));
  if (!folder || folder->mode != kModeTree) return false;
  WRIT_ASSIGN(Visiting visiting,
              base_tree->ForEachFile(path, [this](const TreeItem& item) -> Result<Visiting> {
                return changes.contains(item.path) ? Visiting::kGoOn : Visiting::kStop;
              }));
  return visiting == Visiting::kStop;
}

Result<std::string> InputState::Content(const TreeItem& item, InputFile::Where where) const {
  if (item.mode == kModeGitlink) return "Subproject commit " + item.id.Hex() + "\n";
  if (where == InputFile::Where::kPack)
    return ReadTyped(entry->store(), item.id, ObjectType::kBlob);
  WRIT_ASSIGN(UniqueFd fd, OpenBeneath(trusted.get(), item.id.Hex(), O_RDONLY));
  WRIT_ASSIGN(std::string content, ReadAll(fd.get(), std::uint64_t{16} << 30));
  if (ObjectId::OfBlob(content) != item.id)
    return Error{.kind = ErrorKind::kIntegrity,
                 .code = "workspace.trusted_damaged",
                 .message = "a file that the run's input was kept in has changed"};
  return content;
}

Materialized::Materialized(std::shared_ptr<const InputState> state) : state_(std::move(state)) {}
Materialized::Materialized(Materialized&&) noexcept = default;
Materialized& Materialized::operator=(Materialized&&) noexcept = default;
Materialized::~Materialized() = default;
const std::string& Materialized::base_ref() const {
  return state_->base_ref;
}
const std::string& Materialized::objects_directory() const {
  return state_->entry->objects_directory();
}
std::size_t Materialized::file_count() const {
  return state_->file_count;
}
std::string Materialized::lower_directory() const {
  return state_->IsOverlay() ? state_->checkout->tree() : std::string();
}
bool Materialized::checkout_was_cached() const {
  return state_->checkout_was_cached;
}
std::uint64_t Materialized::tree_bytes() const {
  return state_->tree_bytes;
}
bool Materialized::cache_hit() const {
  return state_->cache_hit;
}
const std::vector<Finding>& Materialized::findings() const {
  return state_->findings;
}

}  // namespace writ::workspace
