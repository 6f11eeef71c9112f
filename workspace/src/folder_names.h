// The names in one folder of a tree, read beneath a handle.
#pragma once

#include <string>
#include <vector>

#include "writ/base/result.h"

namespace writ::workspace {

struct FolderName {
  std::string text{};
  bool is_folder = false;
};

// `folder` below `root`, "" for the root itself. Sorted.
Result<std::vector<FolderName>> NamesInFolder(int root, const std::string& folder);

}  // namespace writ::workspace
