// The upper layer of a run's overlay: what the requester changed against the base, and nothing
// else.
#pragma once

#include "tree_writer.h"

namespace writ::workspace {

// Writes the files of `state.changes` into the empty directory `options.target`, fills in their
// stamps, and covers what the input does not have any more: by a whiteout, or one for a whole
// folder where nothing of it is left, so that the job sees what a plain tree would show. Returns
// the bytes written. kUnsupported "workspace.no_whiteout" where the file system or kernel refuses
// whiteouts.
Result<std::uint64_t> WriteUpper(const TreeWriteOptions& options, InputState& state);

}  // namespace writ::workspace
