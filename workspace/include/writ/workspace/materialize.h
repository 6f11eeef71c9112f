// Materialize: a manifest becomes a working tree that a job can use (runner side).
//
// What is written is also remembered where the job cannot reach it: the base tree, the input tree
// and the stat data of every file. Collect works from that memory alone (L12). Everything is
// written beneath directory handles, without following links (L13), and every blob is verified
// (L15).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/base/result.h"
#include "writ/protocol/manifest.h"
#include "writ/workspace/checkout_cache.h"
#include "writ/workspace/finding.h"
#include "writ/workspace/object_cache.h"

namespace writ::workspace {

// Whose files the tree's will be. Needs CAP_CHOWN, CAP_SETUID and CAP_SETGID where it is not us.
struct JobOwner {
  uid_t uid = 0;
  gid_t gid = 0;
};

struct MaterializeLimits {
  std::uint64_t max_files = 2'000'000;
  std::uint64_t max_tree_bytes = std::uint64_t{64} << 30;
  std::uint64_t max_file_bytes = std::uint64_t{2} << 30;  // of one file
  std::uint64_t max_diff_bytes = std::uint64_t{1} << 30;  // the dirty diff
};

struct MaterializeOptions {
  const protocol::Manifest* manifest = nullptr;  // borrowed for the call
  BlobSource blobs{};
  ObjectCache* cache = nullptr;  // borrowed for the call
  // Borrowed handle of an empty directory, which becomes the tree. With `owner` set it is given to
  // them.
  int target = -1;
  // Borrowed handle of a directory of ours that no job can reach (0700): contents that are in the
  // input but not in the base are kept there until the Materialized is gone.
  int trusted = -1;
  std::optional<JobOwner> owner{};
  // Set: `target` becomes the upper layer of an overlay whose lower layer is a shared checkout of
  // the base out of this cache (borrowed for the call). Only what the requester changed is written;
  // the `.git` is the checkout's, which the job's own changes cover like any other file's.
  CheckoutCache* checkouts = nullptr;
  MaterializeLimits limits{};
  unsigned threads = 2;
  // After each file of the tree that was written, with its size; from all threads at once, which
  // may have the owner's file system ids. May be empty.
  std::function<void(std::uint64_t bytes)> wrote{};
};

class InputState;  // private to this folder

// What the job started from. Movable, thread-compatible; keeps the cache entry open. The files
// below `trusted` are the caller's to remove, after this object is gone.
class Materialized {
 public:
  explicit Materialized(std::shared_ptr<const InputState> state);
  Materialized(Materialized&&) noexcept;
  Materialized& operator=(Materialized&&) noexcept;
  ~Materialized();

  const std::string& base_ref() const;
  // Must be readable for the job at this path: its repository borrows objects from there.
  const std::string& objects_directory() const;
  // The overlay's lower layer, absolute; held for as long as this object lives. Empty: plain.
  std::string lower_directory() const;
  bool checkout_was_cached() const;  // false for a plain tree
  std::size_t file_count() const;
  std::uint64_t tree_bytes() const;
  bool cache_hit() const;
  const std::vector<Finding>& findings() const;  // e.g. workspace.submodule_not_carried
  const InputState& state() const { return *state_; }

 private:
  std::shared_ptr<const InputState> state_;
};

// Thread-safe; several runs may materialize from one cache at once. On failure the target may hold
// a part of the tree, which the caller removes as it does after a run.
Result<Materialized> Materialize(const MaterializeOptions& options);

// The protocol's failure class for an error of this folder: "transfer_failed" for bytes that did
// not arrive or are not those of their hash, "capture_failed" for a manifest, bundle or diff that
// cannot be made into a tree.
std::string_view FailureClassOf(const Error& error);

}  // namespace writ::workspace
