#include "input_state.h"

#include <fcntl.h>

#include <algorithm>

#include "pack_store.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::workspace {

const InputFile* InputState::FindInput(std::string_view path) const {
  auto at = std::lower_bound(
      input.begin(), input.end(), path,
      [](const InputFile& file, std::string_view p) { return file.item.path < p; });
  return at != input.end() && at->item.path == path ? &*at : nullptr;
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
  return state_->input.size();
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
