// Pull: a run's output comes home (requester side).
//
// Where the checkout is still what was captured (same HEAD, same uncommitted change, same untracked
// files) the input -> final change is applied to its files; the index and HEAD stay. Anywhere else
// the base -> final diff becomes a commit on the branch writ/<run>, and neither worktree nor index
// is touched. Work is never overwritten; a second pull of the same run changes nothing and says so.
// A checkout of another user is refused as Capture refuses it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/base/result.h"
#include "writ/protocol/manifest.h"
#include "writ/protocol/names.h"

namespace writ::workspace {

struct PullOptions {
  std::string repository{};
  const protocol::Manifest* manifest = nullptr;  // borrowed: what the run started from
  // input -> final; verified by the caller. nullopt: its runner tells no such change, only `diff`.
  std::optional<std::string_view> delta{};
  std::string_view diff{};  // base -> final; verified by the caller
  protocol::RunId run_id{};
  std::int64_t commit_time = 0;  // seconds since the epoch, for the branch's commit
};

struct PullResult {
  enum class Outcome {
    kAppliedInPlace,
    kLandedOnBranch,
    kNothingToDo,     // the run changed nothing
    kAlreadyApplied,  // the checkout or the branch has it already
  };
  Outcome outcome = Outcome::kNothingToDo;
  std::string branch{};                      // refs/heads/writ/<run> where it landed there
  std::string commit{};                      // its commit
  std::vector<std::string> changed_paths{};  // raw bytes
  std::string reason{};                      // one sentence: why this outcome
};

// Errors: Capture's refusals; "pull.base_missing" where the base commit is not in this repository;
// "pull.branch_exists" (kConflict) where writ/<run> holds something else; patch.* where the diffs
// do not apply; "pull.interrupted" where an earlier pull was killed (its hint says where the
// originals are).
Result<PullResult> Pull(const PullOptions& options);

}  // namespace writ::workspace
