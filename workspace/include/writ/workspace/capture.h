// Capture: what a requester's checkout becomes for a run (requester side).
//
// HEAD's history as a git bundle, the uncommitted change as `git diff --binary --no-renames HEAD`
// text, and allow-listed untracked files. The repository is only read: no hook, filter, attribute
// driver, external diff or fsmonitor of its configuration is run, and nothing in it is written (it
// is never opened as a repository: its object folder, index and refs are read as files). One of
// another user is refused as git refuses it, with the same exception (safe.directory); root gets a
// finding.
//
// Refused, each with a code and a hint: workspace.not_a_repository, workspace.bare,
// workspace.shallow, workspace.no_head, workspace.sha256, workspace.partial_clone,
// workspace.reftable, workspace.index_unsupported (split or sparse), workspace.index_damaged,
// workspace.other_owner, workspace.lfs_modified, workspace.unreadable,
// workspace.changed_while_captured. Linked worktrees are read like any other
// checkout. Submodules stay as they are recorded in HEAD; their content is not carried (finding).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/base/result.h"
#include "writ/protocol/manifest.h"
#include "writ/workspace/finding.h"

namespace writ::workspace {

// .env .env.* *.pem *.key id_rsa* id_ed25519*
std::vector<std::string> DefaultDeniedPatterns();

struct CaptureOptions {
  std::string repository{};                    // the checkout's root or a folder below it
  std::vector<std::string> allow_untracked{};  // globs; PathGlobMatches() says what they match.
                                               // Ignored files only where the glob is their name.
  std::vector<std::string> denied_patterns = DefaultDeniedPatterns();  // win over everything
  // Ours alone (0700): bundles by repository and HEAD, copies of large untracked files.
  std::string cache_directory{};
  std::uint64_t max_untracked_bytes = std::uint64_t{4} << 30;  // in sum; over it: kInvalid
  std::uint64_t max_diff_bytes = std::uint64_t{1} << 30;
};

struct CapturedBlob {
  enum class Kind { kBundle, kDirtyDiff, kUntracked };
  Kind kind = Kind::kBundle;
  protocol::Digest digest{};
  std::uint64_t bytes = 0;
  std::string file{};     // where not empty: the bytes are in this file (in cache_directory)
  std::string content{};  // else they are here
};

struct CaptureSummary {
  std::string repository_root{};  // absolute
  std::string head{};             // commit id
  std::string branch{};           // "refs/heads/main", empty when detached
  std::size_t changed_files = 0;
  std::size_t untracked_files = 0;
  std::size_t commits = 0;  // 0 where the bundle came from the cache
  bool bundle_was_cached = false;
};

struct Captured {
  protocol::Manifest manifest{};
  std::vector<CapturedBlob> blobs{};  // the bundle first
  // workspace.denied_change_left_out, workspace.denied_in_history, workspace.submodule_not_carried,
  // workspace.lfs_pointers, workspace.nested_repository, workspace.name_not_carried,
  // workspace.special_file, workspace.pattern_unused (an allowed pattern), workspace.other_owner,
  // ...
  std::vector<Finding> findings{};
  CaptureSummary summary{};
};

// Called from the calling thread with a sentence's worth of progress; may be empty.
using CaptureProgress =
    std::function<void(std::string_view what, std::uint64_t done, std::uint64_t total)>;

// Thread-safe; blocks.
Result<Captured> Capture(const CaptureOptions& options, const CaptureProgress& progress = {});

}  // namespace writ::workspace
