#include "git_object.h"

#include <algorithm>
#include <bit>

namespace writ::workspace {

std::string_view ObjectTypeName(ObjectType type) {
  switch (type) {
    case ObjectType::kCommit:
      return "commit";
    case ObjectType::kTree:
      return "tree";
    case ObjectType::kBlob:
      return "blob";
    case ObjectType::kTag:
      return "tag";
  }
  return "";
}

Result<std::string> ReadTyped(const ObjectSource& source, const ObjectId& id, ObjectType type) {
  auto object = source.Read(id);
  if (!object) return std::move(object).error();
  if (object->type != type)
    return Error{.kind = ErrorKind::kInvalid,
                 .code = "workspace.object_wrong_type",
                 .message = "object " + id.Hex() + " is a " +
                            std::string(ObjectTypeName(object->type)) + ", not a " +
                            std::string(ObjectTypeName(type))};
  return std::move(object->content);
}

std::size_t DefaultAbbreviation(std::size_t object_count) {
  auto bits = static_cast<std::size_t>(std::bit_width(object_count));
  return std::max<std::size_t>(7, (bits + 1) / 2);
}

Result<CommitInfo> ParseCommit(std::string_view content) {
  CommitInfo info;
  auto take = [&content](std::string_view word) -> std::optional<ObjectId> {
    if (!content.starts_with(word) || content.size() < word.size() + 41 ||
        content[word.size() + 40] != '\n')
      return std::nullopt;
    auto id = ObjectId::FromHex(content.substr(word.size(), 40));
    if (id) content.remove_prefix(word.size() + 41);
    return id;
  };
  auto tree = take("tree ");
  if (!tree)
    return Error{.kind = ErrorKind::kInvalid,
                 .code = "workspace.object_malformed",
                 .message = "a commit does not name its tree"};
  info.tree = *tree;
  while (auto parent = take("parent ")) info.parents.push_back(*parent);
  return info;
}

}  // namespace writ::workspace
