// InputState: what Materialize remembers for Collect, out of the job's reach.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base_tree.h"
#include "git_object.h"
#include "job_repository.h"
#include "writ/base/unique_fd.h"
#include "writ/workspace/checkout_cache.h"
#include "writ/workspace/finding.h"
#include "writ/workspace/materialize.h"
#include "writ/workspace/object_cache.h"

namespace writ::workspace {

// What the file system told of a file when we had written it. A job cannot set a ctime, so an equal
// stamp that is older than the snapshot's last clock tick means an unchanged file.
struct FileStamp {
  std::uint64_t inode = 0;
  std::uint64_t size = 0;
  std::int64_t mtime_ns = 0;
  std::int64_t ctime_ns = 0;
  std::uint32_t st_mode = 0;
  bool operator==(const FileStamp&) const = default;

  static FileStamp Of(const struct stat& st) {
    return {st.st_ino, static_cast<std::uint64_t>(st.st_size),
            st.st_mtim.tv_sec * std::int64_t{1'000'000'000} + st.st_mtim.tv_nsec,
            st.st_ctim.tv_sec * std::int64_t{1'000'000'000} + st.st_ctim.tv_nsec, st.st_mode};
  }
};

// One file of the input tree.
struct InputFile {
  TreeItem item{};
  FileStamp stamp{};
  // Where the content is: in the pack, or (changed or untracked by the requester) in a file of the
  // trusted directory that is named by its id.
  enum class Where { kPack, kTrusted } where = Where::kPack;
  std::uint64_t device = 0, ctime_s = 0, mtime_s = 0;  // for the job's index
};

class InputState {
 public:
  std::shared_ptr<const CacheEntry> entry;
  ObjectId base_commit;
  std::string base_ref;
  // Plain: both trees, sorted by path. Overlay: empty, looked up where they are asked for.
  TreeListing base;
  std::vector<InputFile> input;
  // What the requester's changes made of the base: a path's file, or nothing. With an overlay these
  // are the files that were written to the upper layer.
  std::map<std::string, std::optional<InputFile>> changes;
  std::shared_ptr<const CheckoutLease> checkout;  // overlay: the lower layer
  std::unique_ptr<BaseTree> base_tree;            // overlay; reads from `entry`
  bool checkout_was_cached = false;
  std::size_t file_count = 0;
  UniqueFd trusted;
  std::int64_t snapshot_ns = 0;  // stamps with a ctime from here on prove nothing
  JobRepositoryText repository;  // the job's .git as it was made
  std::vector<Finding> findings;
  std::uint64_t tree_bytes = 0;
  bool cache_hit = false;

  bool IsOverlay() const { return checkout != nullptr; }
  Result<std::optional<TreeItem>> FindBase(const std::string& path) const;
  Result<std::optional<InputFile>> FindInput(const std::string& path) const;
  // Whether the input has a file below the folder `path`.
  Result<bool> InputHasBelow(const std::string& path) const;
  // The content of an input or base file by id; gitlinks give their "Subproject commit" line.
  Result<std::string> Content(const TreeItem& item, InputFile::Where where) const;
};

}  // namespace writ::workspace
