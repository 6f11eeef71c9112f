// ObjectCache: verified packs by the hash of the bundle that they came in.
//
// One entry per bundle, `<directory>/<bundleHash>/`: a pack and its index, laid out as a git object
// folder that a job's repository names as an alternate. Entries are never merged, so one
// requester's objects are not visible to another's job. An entry is made beside its place and
// renamed into it, so it is there whole or not at all; a damaged one is set aside and made again.
// Bounded: after a fill the entries used longest ago go first, never one in use, in any process.
// Thread-safe; several processes may share a directory.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "writ/base/result.h"
#include "writ/base/unique_fd.h"
#include "writ/protocol/digest.h"
#include "writ/workspace/bundle.h"

namespace writ::workspace {

// A blob's bytes: a readable descriptor of a regular file, at offset 0. What it yields is verified
// against the digest here again (L15). The error of a source is passed on.
using BlobSource = std::function<Result<UniqueFd>(const protocol::Digest& digest)>;

class PackStore;  // the open pack; private to this folder

// While it lives the entry is not removed.
class CacheEntry {
 public:
  CacheEntry(std::string objects_directory, BundleHeader header, std::shared_ptr<PackStore> store,
             UniqueFd use);
  ~CacheEntry();
  // The object folder (absolute). A job's `.git/objects/info/alternates` names it, so the job must
  // be able to read it at this very path.
  const std::string& objects_directory() const { return objects_directory_; }
  const BundleHeader& header() const { return header_; }
  PackStore& store() const { return *store_; }
  void NoteUse() const;  // what was used longest ago goes first

 private:
  std::string objects_directory_;
  BundleHeader header_;
  std::shared_ptr<PackStore> store_;
  UniqueFd use_;  // the entry's header, locked shared
};

struct ObjectCacheLimits {
  std::uint64_t max_bytes = std::uint64_t{20} << 30;  // of packs; what is in use may go over it
  std::size_t max_entries = 256;
};

class ObjectCache {
 public:
  // Makes the directory (0711: entered by name, not listed by jobs) and removes what unfinished
  // fills of dead processes left.
  static Result<std::unique_ptr<ObjectCache>> Open(const std::string& directory,
                                                   const ObjectCacheLimits& limits = {});
  ~ObjectCache();
  ObjectCache(const ObjectCache&) = delete;
  ObjectCache& operator=(const ObjectCache&) = delete;

  struct Found {
    std::shared_ptr<const CacheEntry> entry{};
    bool was_cached = false;
  };
  // The entry of `bundle`, from the cache or filled from `blobs`. kIntegrity "transfer.bundle_hash"
  // where the bytes are not those of the hash; ParseBundleHeader's errors;
  // "workspace.bundle_prerequisites"; "workspace.bundle_pack" for a damaged or incomplete pack.
  Result<Found> Get(const protocol::Digest& bundle, const BlobSource& blobs);

  // Where the objects of `bundle` are or will be (absolute), in this cache or in one of that
  // directory. Pure.
  std::string ObjectsDirectory(const protocol::Digest& bundle) const;
  static std::string ObjectsDirectoryIn(const std::string& directory,
                                        const protocol::Digest& bundle);

  // Takes an entry out of use, because an object in it turned out to be damaged. Runs that have it
  // open keep it; the next Get fills it anew.
  void Discard(const protocol::Digest& bundle);

  // Removes the entries used longest ago until the limits hold. Get does this after a fill.
  void Trim();

 private:
  struct State;
  explicit ObjectCache(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace writ::workspace
