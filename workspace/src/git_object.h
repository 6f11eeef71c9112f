// GitObject and ObjectSource: objects read from somewhere, already verified against their id.
#pragma once

#include <string>

#include "writ/base/result.h"
#include "writ/workspace/object_id.h"

namespace writ::workspace {

enum class ObjectType { kCommit, kTree, kBlob, kTag };
std::string_view ObjectTypeName(ObjectType type);

struct GitObject {
  ObjectType type = ObjectType::kBlob;
  std::string content;
};

class ObjectSource {
 public:
  virtual ~ObjectSource() = default;
  // kNotFound "workspace.object_missing", kIntegrity "workspace.object_damaged".
  virtual Result<GitObject> Read(const ObjectId& id) const = 0;
  virtual bool Has(const ObjectId& id) const = 0;
  // How many hex digits git would print of `id` here: enough for the number of packed objects,
  // and more where another object shares them.
  virtual std::size_t AbbreviationOf(const ObjectId& id) const = 0;
};

// Read, and an error where it is of another type.
Result<std::string> ReadTyped(const ObjectSource& source, const ObjectId& id, ObjectType type);

// git's default length of an abbreviation in a repository of `object_count` packed objects.
std::size_t DefaultAbbreviation(std::size_t object_count);

// The parts of a commit that matter here.
struct CommitInfo {
  ObjectId tree;
  std::vector<ObjectId> parents;
};
Result<CommitInfo> ParseCommit(std::string_view content);

}  // namespace writ::workspace
