// A commit's tree as one flat, sorted, checked listing.
#pragma once

#include <cstdint>

#include "git_object.h"

namespace writ::workspace {

// One entry of a tree object; the name points into its bytes.
struct RawTreeEntry {
  std::uint32_t mode = 0;
  std::string_view name{};
  ObjectId id{};
};
// Takes the next entry off the front of a tree object's bytes; false at a damaged one.
bool TakeTreeEntry(std::string_view& bytes, RawTreeEntry& entry);
// A file's mode as git checks it out, a folder's as it is; 0 for one that git does not know.
std::uint32_t TreeModeOf(std::uint32_t raw);

struct ListingLimits {
  std::uint64_t max_files = 2'000'000;
};

// Every file below `tree`. Refuses names that git would not check out, unsorted or doubled names,
// unknown modes and trees past the limits ("workspace.hostile_tree"); "workspace.bundle_incomplete"
// where a tree is missing.
Result<TreeListing> ListTree(const ObjectSource& source, const ObjectId& tree,
                             const ListingLimits& limits);

// The binary search that all users of a sorted listing need; nullptr where it is not there.
const TreeItem* FindInListing(const TreeListing& listing, std::string_view path);

// True where the listing has a file below `directory`.
bool HasBelow(const TreeListing& listing, std::string_view directory);

}  // namespace writ::workspace
