// The job's own `.git`: a branch at the base commit, an index that fits the tree, and the cache
// entry's objects as an alternate. Afterwards it belongs to the job and nothing of ours reads it,
// but to tell what was changed.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "overlay_marks.h"
#include "writ/workspace/materialize.h"

namespace writ::workspace {

class InputState;

inline constexpr std::string_view kJobBranch = "refs/heads/main";

// The files of a fresh `.git` that are text.
struct JobRepositoryText {
  std::string config{};
  std::string alternates{};  // objects/info/alternates
  std::string base_ref{};    // what the branch points to
};
enum class StatTrust {
  kFull,     // git compares all stat data of the index
  kMinimal,  // core.checkStat=minimal: size and seconds of the modification time
};
JobRepositoryText TextOfRepository(const std::string& objects_directory,
                                   const std::string& base_ref, StatTrust trust);
// Every file and folder of a fresh `.git` but the index, by path below it; folders have no text.
struct RepositoryPart {
  std::string path{};
  std::optional<std::string> text{};
};
std::vector<RepositoryPart> PartsOfRepository(const JobRepositoryText& text);
// Writes `.git` into `target` as ourselves.
Status WriteRepository(int target, const JobRepositoryText& text, std::string_view index);

// Writes `.git` into `target`, with the calling thread's file system ids. Sets `repository`
// of `state`.
Status WriteJobRepository(int target, const std::optional<JobOwner>& owner, InputState& state);

// What the job changed in `.git` that could change what git does to whoever uses that tree: config,
// hooks, attributes, excludes, alternates, a replaced `.git`; and whether it made commits. Reads
// beneath the handle, bounded, without following links (L12).
// `xattrs` is set where `tree` is the upper layer of an overlay: what is not there is then as it
// was, unless a folder on its way is opaque.
std::vector<Finding> InspectJobRepository(int tree, const JobRepositoryText& text,
                                          std::optional<OverlayXattrs> xattrs);

}  // namespace writ::workspace
