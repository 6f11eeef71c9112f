// BlobStore: bytes by their SHA-256, as files DIR/blobs/ab/abcd... (L15).
//
// A blob is there whole or not at all: it is written to a temporary file, hashed on the way,
// flushed and linked under its name. Thread-safe; several processes may share a folder.
//
// Putting a blob into its place and saying that one is used (Keep) exclude the collection of old
// ones (Collecting): a blob that came or was asked for meanwhile is never taken by it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "writ/base/clock.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"
#include "writ/plane/plane.h"

namespace writ::plane {

class BlobStore {
 public:
  // `root` is the plane's state folder with blobs/ and tmp/; borrowed by duplicate.
  static Result<BlobStore> Open(int root, std::uint64_t max_bytes);

  Result<std::unique_ptr<Plane::BlobWriter>> NewBlob() const;
  Result<Plane::Blob> OpenBlob(std::string_view hash) const;  // kNotFound "blob.not_found"
  bool Contains(std::string_view hash) const;
  // Whether it is there; marks it as just used, so that the collection spares it.
  Result<bool> Keep(std::string_view hash) const;
  // Makes the file `name` of the folder `dir`, flushed and with these bytes, the blob.
  Status Adopt(int dir, const std::string& name, std::string_view hash) const;
  void Quarantine(std::string_view hash) const;

  // Holds the folder for a collection, alone among threads and processes, while it lives.
  class Collecting {
   public:
    // Whether the blob is there and was last used before `before`.
    bool IsOlder(std::string_view hash, WallTime before) const;
    // Durable with Flush. A blob that is not there is removed already.
    Status Remove(std::string_view hash);
    Status Flush();

   private:
    friend class BlobStore;
    Collecting(int blobs, UniqueFd lock) : blobs_(blobs), lock_(std::move(lock)) {}
    int blobs_;
    UniqueFd lock_;
    std::vector<std::string> folders_;  // removed from, not yet flushed
  };
  Result<Collecting> Collect() const;

  struct Blobs {
    std::uint64_t count = 0;
    std::uint64_t bytes = 0;
  };
  // Looks at all of them; calls `visit` with the hash and size of each that was last used before
  // `before`.
  Result<Blobs> Survey(WallTime before,
                       const std::function<void(const std::string&, std::uint64_t)>& visit) const;
  // Removes what uploads of processes that died have left.
  void SweepTemporary() const;

 private:
  friend class BlobUpload;
  BlobStore(UniqueFd blobs, UniqueFd tmp, std::uint64_t max_bytes)
      : blobs_(std::move(blobs)), tmp_(std::move(tmp)), max_bytes_(max_bytes) {}
  UniqueFd blobs_;
  UniqueFd tmp_;
  std::uint64_t max_bytes_;
};

}  // namespace writ::plane
