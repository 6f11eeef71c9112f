#include "tree_listing.h"

#include <algorithm>
#include <cstring>

#include "writ/workspace/path_rules.h"
#include "writ/workspace/quoted_path.h"

namespace writ::workspace {
namespace {

Error Hostile(std::string_view path, std::string_view why) {
  return Error{.kind = ErrorKind::kInvalid,
               .code = "workspace.hostile_tree",
               .message = "the tree at '" + QuotePath(path) + "' " + std::string(why)};
}

// Names compare as if a directory's ended in '/'.
bool SortsBefore(const RawTreeEntry& a, const RawTreeEntry& b) {
  std::size_t shared = std::min(a.name.size(), b.name.size());
  int order = std::memcmp(a.name.data(), b.name.data(), shared);
  if (order != 0) return order < 0;
  auto next = [shared](const RawTreeEntry& e) {
    if (e.name.size() > shared) return static_cast<unsigned char>(e.name[shared]);
    return static_cast<unsigned char>(e.mode == kModeTree ? '/' : '\0');
  };
  return next(a) < next(b);
}

class Lister {
 public:
  Lister(const ObjectSource& source, const ListingLimits& limits)
      : source_(source), limits_(limits) {}

  Status Add(const ObjectId& tree, const std::string& prefix, std::size_t depth) {
    if (depth > kMaxPathDepth) return Hostile(prefix, "is too deep");
    // Trees count too: some hold nothing but trees, many times over.
    if (++trees_ > limits_.max_files) return TooMany();
    auto content = ReadTyped(source_, tree, ObjectType::kTree);
    if (!content) return Missing(std::move(content).error());
    std::string_view bytes = *content;
    std::vector<std::string_view> files;
    RawTreeEntry before;
    for (bool first = true; !bytes.empty(); first = false) {
      RawTreeEntry entry;
      if (!TakeTreeEntry(bytes, entry)) return Hostile(prefix, "is damaged");
      std::string path = prefix + std::string(entry.name);
      if (!IsSafeTreeName(entry.name) || path.size() > kMaxPathBytes)
        return Hostile(path, "has a name that git would not check out");
      if (!first && !SortsBefore(before, entry)) return Hostile(path, "is not in order");
      before = entry;
      if (entry.mode == kModeTree) {
        if (std::binary_search(files.begin(), files.end(), entry.name))
          return Hostile(path, "is a file and a folder");
        WRIT_TRY(Add(entry.id, path + "/", depth + 1));
        continue;
      }
      std::uint32_t mode = TreeModeOf(entry.mode);
      if (mode == 0) return Hostile(path, "has a mode that git does not know");
      files.push_back(entry.name);
      if (listing_.size() >= limits_.max_files) return TooMany();
      listing_.push_back({std::move(path), mode, entry.id});
    }
    return {};
  }
  TreeListing Take() && { return std::move(listing_); }

 private:
  Error TooMany() const {
    return Error{
        .kind = ErrorKind::kInvalid,
        .code = "workspace.too_many_files",
        .message = "the base tree has more than " + std::to_string(limits_.max_files) + " files"};
  }
  static Error Missing(Error error) {
    if (error.code == "workspace.object_missing" || error.code == "workspace.object_wrong_type") {
      error.kind = ErrorKind::kInvalid;
      error.code = "workspace.bundle_incomplete";
    }
    return std::move(error).With("reading the base tree");
  }

  const ObjectSource& source_;
  const ListingLimits& limits_;
  TreeListing listing_;
  std::uint64_t trees_ = 0;
};

bool PathLess(const TreeItem& item, std::string_view path) {
  return item.path < path;
}

}  // namespace

bool TakeTreeEntry(std::string_view& bytes, RawTreeEntry& entry) {
  std::size_t space = bytes.find(' ');
  if (space == std::string_view::npos || space < 5 || space > 6) return false;
  entry.mode = 0;
  for (char c : bytes.substr(0, space)) {
    if (c < '0' || c > '7') return false;
    entry.mode = entry.mode * 8 + static_cast<std::uint32_t>(c - '0');
  }
  std::size_t nul = bytes.find('\0', space);
  if (nul == std::string_view::npos || bytes.size() - nul < 21) return false;
  entry.name = bytes.substr(space + 1, nul - space - 1);
  std::memcpy(entry.id.bytes.data(), bytes.data() + nul + 1, 20);
  bytes.remove_prefix(nul + 21);
  return true;
}

std::uint32_t TreeModeOf(std::uint32_t raw) {
  if ((raw & 0170000) == 0100000) return (raw & 0100) != 0 ? kModeExecutable : kModeRegular;
  return raw == kModeSymlink || raw == kModeGitlink || raw == kModeTree ? raw : 0;
}

Result<TreeListing> ListTree(const ObjectSource& source, const ObjectId& tree,
                             const ListingLimits& limits) {
  Lister lister(source, limits);
  WRIT_TRY(lister.Add(tree, "", 0));
  return std::move(lister).Take();
}

const TreeItem* FindInListing(const TreeListing& listing, std::string_view path) {
  auto at = std::lower_bound(listing.begin(), listing.end(), path, PathLess);
  return at != listing.end() && at->path == path ? &*at : nullptr;
}

bool HasBelow(const TreeListing& listing, std::string_view directory) {
  std::string prefix = std::string(directory) + "/";
  auto at = std::lower_bound(listing.begin(), listing.end(), prefix, PathLess);
  return at != listing.end() && at->path.starts_with(prefix);
}

}  // namespace writ::workspace
