// A checkpoint of the job's workspace: taken while the job waits, and carried out in the workspace
// of another run's job before that starts. It is the tree stream of what the workspace's upper
// layer holds (tree_stream.h); the job's memory is no part of it.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>

#include "writ/backends/entry.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::microvm {

struct CheckpointParts {
  UniqueFd upper;                // the layer's directory
  std::function<Status()> hold;  // the job; empty: nobody can
  std::function<void()> release;
};
// In a thread of its own, which lets the job go on with the last byte that it was given out, when
// the entry gets a signal, or at its end. How it ended is an exit status (entry.h, kCheckpoint).
Result<std::unique_ptr<Entry>> BeginCheckpoint(CheckpointParts parts);

struct TreeOwner {
  uid_t uid = 0;
  gid_t gid = 0;
};
// The checkpoint in `file` over the tree at `workspace`, as its owner. kInvalid "agent.checkpoint"
// where it has no end; what of it was done stays.
Status CarryOut(const std::string& file, const std::string& workspace, TreeOwner owner);

}  // namespace writ::backends::microvm
