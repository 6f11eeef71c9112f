// BaseTree: a commit's tree looked into path by path, without listing it. What is asked for is read
// from its tree objects once and kept, so the cost is that of the folders on the way.
//
// For trees that were listed and checked as a whole before (ListTree), at the filling of a
// checkout. Not thread-safe: looking things up remembers them.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "git_object.h"

namespace writ::workspace {

enum class Visiting { kGoOn, kStop };

class BaseTree {
 public:
  struct Entry {
    std::string name{};
    std::uint32_t mode = 0;  // kModeTree for a folder
    ObjectId id{};
  };
  using Folder = std::vector<Entry>;  // by the bytes of `name`
  using Visit = std::function<Result<Visiting>(const TreeItem& item)>;

  // `source` is borrowed and outlives the object.
  BaseTree(const ObjectSource& source, const ObjectId& root)
      : source_(source), root_{"", kModeTree, root} {}

  // What is at `path`, a folder too ("" is the root); nullopt where there is nothing.
  Result<std::optional<Entry>> Find(std::string_view path) const;
  // The same for files, links and submodules only.
  Result<std::optional<TreeItem>> FindFile(const std::string& path) const;
  // Every file, link and submodule at or below `path`.
  Result<Visiting> ForEachFile(const std::string& path, const Visit& visit) const;

 private:
  Result<const Folder*> Open(const ObjectId& tree) const;
  Result<Visiting> Below(const std::string& path, const Entry& entry, std::size_t depth,
                         const Visit& visit) const;

  const ObjectSource& source_;
  Entry root_;
  mutable std::map<ObjectId, std::unique_ptr<Folder>> folders_;
};

}  // namespace writ::workspace
