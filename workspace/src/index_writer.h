// The bytes of a git index (version 2) for a tree that was just checked out.
#pragma once

#include <string>
#include <vector>

#include "input_state.h"

namespace writ::workspace {

struct IndexEntry {
  const TreeItem* item = nullptr;
  const InputFile* on_disk = nullptr;  // null: not there as it is recorded; git will look at it
};

// `entries` sorted by path. `owner` as stat tells it.
std::string FormatIndex(const std::vector<IndexEntry>& entries, uid_t uid, gid_t gid);

}  // namespace writ::workspace
