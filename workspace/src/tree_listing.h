// A commit's tree as one flat, sorted, checked listing.
#pragma once

#include <cstdint>

#include "git_object.h"

namespace writ::workspace {

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
