// Collect: what a job made of its tree (runner side), after the job is dead.
//
// Computed from what Materialize remembered and from the bytes of the tree, read beneath a handle
// without following links. The tree's `.git`, index, attributes and configuration are never
// consulted; `.gitignore` files of the final tree are, as `git add -A` would, and the files that
// they leave out are counted (L12, L14). Files that git cannot carry (FIFOs, sockets, devices,
// nested repositories, names that git refuses) are findings.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/base/result.h"
#include "writ/protocol/digest.h"
#include "writ/workspace/finding.h"
#include "writ/workspace/materialize.h"

namespace writ::workspace {

// Past any of these the collection fails with kInvalid "workspace.output_limit" and names the path
// or figure. Nothing is cut short silently.
struct CollectLimits {
  std::uint64_t max_entries = 5'000'000;  // files and folders that are looked at
  std::uint64_t max_changed_files = 200'000;
  // Of one changed file, and of each of the two diffs. What is compared is in memory meanwhile, and
  // a sparse file costs its job nothing: a file is judged by its length before any of it is read.
  std::uint64_t max_file_bytes = std::uint64_t{128} << 20;
  std::uint64_t max_diff_bytes = std::uint64_t{128} << 20;
  std::size_t max_findings = 1'000;  // the rest are counted in one last finding
};

// Under which names the kernel keeps its marks in an overlay's upper layer.
enum class OverlayXattrs {
  kTrusted,  // trusted.overlay.*: mounted by root
  kUser,     // user.overlay.*: mounted with userxattr
};

struct CollectOptions {
  const Materialized* materialized = nullptr;  // borrowed for the call
  // Borrowed handle of the tree's root; of the upper layer where it was materialized for an
  // overlay.
  int tree = -1;
  // How the overlay was mounted; without meaning for a plain tree.
  OverlayXattrs xattrs = OverlayXattrs::kTrusted;
  CollectLimits limits{};
  // True where `bytes` holds a secret's value. Asked for the old and new content, the link target
  // and the name of every changed file. May be empty.
  std::function<bool(std::string_view bytes)> holds_secret{};
  // Where set, files of another owner are not read but reported (workspace.foreign_owner): a hard
  // link must not make us read what the job could not.
  std::optional<uid_t> owner{};
};

struct ChangedFile {
  std::string path{};          // raw bytes; see PathForRecord()
  protocol::Digest content{};  // SHA-256 of the final content (a link's target); zero when deleted
  std::uint32_t mode = 0;      // git mode; 0 when deleted
  std::uint64_t bytes = 0;
  bool changed_by_job = false;  // false: it only differs from the base because the input did
};

struct Collected {
  std::string diff{};   // base -> final, `git diff --binary` text; empty where nothing differs
  std::string delta{};  // input -> final, the same with full ids
  std::vector<ChangedFile> changed{};  // against the base, ordered by path bytes
  // workspace.secret_in_output, workspace.nested_repository, workspace.special_file,
  // workspace.unsafe_name, workspace.foreign_owner, workspace.link_outside,
  // workspace.git_config_changed,
  // workspace.git_hook_planted, workspace.git_replaced, workspace.git_attributes_planted,
  // workspace.attributes_changed, workspace.ignored_files, workspace.commits_made, ...
  std::vector<Finding> findings{};
  std::uint64_t ignored_entries = 0;  // files and whole folders left out by .gitignore
  std::uint64_t files_seen = 0;
  std::uint64_t files_read = 0;
  bool secret_found = false;
};

// Thread-safe for different trees. Blocks.
Result<Collected> Collect(const CollectOptions& options);

}  // namespace writ::workspace
