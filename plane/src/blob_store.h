// BlobStore: bytes by their SHA-256, as files DIR/blobs/ab/abcd... (L15).
//
// A blob is there whole or not at all: it is written to a temporary file, hashed on the way,
// flushed and linked under its name. Thread-safe; several processes may share a folder.
#pragma once

#include <memory>
#include <string>
#include <string_view>

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
  // Marks it as just used, so that a sweep of old blobs spares it.
  void Touch(std::string_view hash) const;
  void Quarantine(std::string_view hash) const;
  // Removes a blob that was last touched before `before`; false where there is none that old.
  Result<bool> RemoveIfOlder(std::string_view hash, WallTime before) const;
  // Calls `visit` with the hash of each blob that was last touched before `before`.
  Status ForEachOlder(WallTime before,
                      const std::function<Status(const std::string&)>& visit) const;
  // Removes what uploads that never ended have left, when older than a day.
  void SweepTemporary(WallTime now) const;

 private:
  friend class BlobUpload;
  BlobStore(UniqueFd blobs, UniqueFd tmp, std::uint64_t max_bytes)
      : blobs_(std::move(blobs)), tmp_(std::move(tmp)), max_bytes_(max_bytes) {}
  UniqueFd blobs_;
  UniqueFd tmp_;
  std::uint64_t max_bytes_;
};

}  // namespace writ::plane
