// WorktreeChange: several files of a requester's checkout changed as one act, or not at all.
//
// Every original is moved aside before anything new is put in its place, nothing is ever written
// over, and at the first failure everything is moved back. A journal beside the originals says
// which is which; where the process is killed in between, it stays for the user.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "repository_files.h"

namespace writ::workspace {

struct FileChange {
  std::optional<TreeItem> before{};  // what must be there; nullopt: nothing may be there
  std::optional<TreeItem> after{};
  std::string content{};  // of `after`
};
using FileChanges = std::map<std::string, FileChange>;

// What stands at a path of the checkout now; nullopt: nothing. A folder or special file is an item
// with mode 0. Reads beneath the root, never through a link.
Result<std::optional<TreeItem>> LookAt(int root, const std::string& path);

// `aside` is the name of a folder to be made in the repository's git folder. "pull.interrupted"
// where it is there already.
Status ApplyToWorktree(const RepositoryFiles& repository, const std::string& aside,
                       const FileChanges& changes);

}  // namespace writ::workspace
