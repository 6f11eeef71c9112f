// The modes of the runner's own files. A job with the runner's own uid and no mount namespace can
// take them away by path (chmod is no right of Landlock's), and the owner can take them back.
#pragma once

#include <string>
#include <vector>

namespace writ::runner {

struct RunnerConfig;

// Folders that their owner may not enter and write, and files that it may not read (of databases:
// write), below what is private to the runner; of sessions and caches the folders themselves. Sets
// them back where they are ours: paths, in the order of the walk. Never follows a link.
std::vector<std::string> MendOwnModes(const RunnerConfig& config);
std::vector<std::string> MendOwnModes(const std::string& dir);

}  // namespace writ::runner
