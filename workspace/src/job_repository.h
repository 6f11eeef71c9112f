// The job's own `.git`: a branch at the base commit, an index that fits the tree, and the cache
// entry's objects as an alternate. Afterwards it belongs to the job and nothing of ours reads it,
// but to tell what was changed.
#pragma once

#include "input_state.h"
#include "writ/workspace/materialize.h"

namespace writ::workspace {

inline constexpr std::string_view kJobBranch = "refs/heads/main";

// Writes `.git` into `target`, with the calling thread's file system ids. Sets config_text and
// alternates_text of `state`.
Status WriteJobRepository(int target, const std::optional<JobOwner>& owner, InputState& state);

// What the job changed in `.git` that could change what git does to whoever uses that tree: config,
// hooks, attributes, excludes, alternates, a replaced `.git`; and whether it made commits. Reads
// beneath the handle, bounded, without following links (L12).
std::vector<Finding> InspectJobRepository(int tree, const InputState& state);

}  // namespace writ::workspace
