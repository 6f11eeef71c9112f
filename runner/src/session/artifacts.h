// CollectArtifacts: the output files that a contract declares, taken out of the final workspace.
//
// The job is dead, and what it has left is hostile: the tree is read beneath its handle, no link is
// followed, nothing but regular files of the job's own is opened, and what is looked at, taken and
// read is bounded - in entries, files, bytes and time. Going over a bound is a failure, never a
// shorter list (L13, L14). A link that stands where a declared file could be, or on the way to one,
// is a finding where it leads out of the workspace. Each file is copied once, hashed and searched
// for secrets on the way, to `out` under its hash. Folders that no glob leads into are not looked
// at, so that on an overlay the cost is that of what is declared. A file that holds the value of a
// released secret, in any form, is withheld, or redacted where it is text and the operator allows
// that. `.git` folders are left out.
#pragma once

#include <sys/types.h>

#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "writ/base/clock.h"
#include "writ/protocol/digest.h"
#include "writ/runner/artifact_limits.h"
#include "writ/runner/failure.h"
#include "writ/runner/redactor.h"
#include "writ/workspace/merged_tree.h"

namespace writ::runner {

enum class SecretInFile { kWithhold, kRedactText };

struct ArtifactOrder {
  explicit ArtifactOrder(workspace::MergedTree the_tree) : tree(the_tree) {}
  workspace::MergedTree tree;
  int out = -1;  // handle of the folder that takes the copies
  std::vector<std::string> globs;
  std::optional<std::string> result;  // path of the structured result
  ArtifactLimits limits;
  std::optional<uid_t> owner;  // files of others are findings, but for the base's own
  const Redactor* redactor = nullptr;
  SecretInFile secret_in_file = SecretInFile::kWithhold;
  const Clock* clock = nullptr;
  std::stop_token stop{};
};

struct ArtifactFile {
  std::string path;  // as it is in the workspace
  protocol::Digest digest;
  std::uint64_t bytes = 0;
};
struct ArtifactFinding {
  std::string code;
  std::string message;
  std::string path;
};
struct ArtifactSet {
  std::vector<ArtifactFile> files;  // by path
  std::vector<ArtifactFinding> findings;
  std::optional<RunFailure> failure;  // the files before it are there
};
ArtifactSet CollectArtifacts(const ArtifactOrder& order);

}  // namespace writ::runner
