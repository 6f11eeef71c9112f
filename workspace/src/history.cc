#include "history.h"

#include <set>
#include <vector>

namespace writ::workspace {
namespace {

Error Incomplete(const ObjectId& id) {
  return Error{.kind = ErrorKind::kInvalid,
               .code = "workspace.bundle_incomplete",
               .message = "the bundle lacks commit " + id.Hex()};
}

}  // namespace

Result<GitObject> ReadPeeled(const ObjectSource& source, ObjectId& id) {
  for (int step = 0; step < 10; ++step) {
    auto object = source.Read(id);
    if (!object || object->type != ObjectType::kTag) return object;
    std::string_view text = object->content;
    auto target =
        text.starts_with("object ") ? ObjectId::FromHex(text.substr(7, 40)) : std::nullopt;
    if (!target) break;
    id = *target;
  }
  return Incomplete(id);
}

Status CheckHistory(const ObjectSource& source, const ObjectId& tip) {
  std::vector<ObjectId> todo{tip};
  std::set<ObjectId> seen{tip};
  while (!todo.empty()) {
    ObjectId id = todo.back();
    todo.pop_back();
    auto content = ReadTyped(source, id, ObjectType::kCommit);
    if (!content) {
      Error error = std::move(content).error();
      if (error.code == "workspace.object_missing" || error.code == "workspace.object_wrong_type")
        return Incomplete(id);
      return error;
    }
    WRIT_ASSIGN(CommitInfo info, ParseCommit(*content));
    for (const ObjectId& parent : info.parents)
      if (seen.insert(parent).second) todo.push_back(parent);
  }
  return {};
}

}  // namespace writ::workspace
