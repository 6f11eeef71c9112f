// BlobParts: blobs that come in pieces (protocol.md section 6), as files DIR/parts/RUN-HASH until
// they are whole.
//
// A part belongs to one run: no other run's token reaches it, and what it holds is nobody's blob
// before its bytes have the hash of its name (L15). The length of the file is how far the upload
// has come, so a part survives kill -9; one that nobody went on with for a day goes. Room is
// bounded: kPartsPerRun parts and one largest blob's bytes for a run, kLargestBlobs times that in
// all; where that is used up, parts that have stood still for ten minutes make way, the oldest
// first.
//
// Thread-safe; several processes may share a folder: a part is written under flock on its file.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "blob_store.h"
#include "writ/base/clock.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"
#include "writ/plane/types.h"

namespace writ::plane {

class BlobParts {
 public:
  static constexpr std::size_t kPartsPerRun = 16;
  static constexpr std::uint64_t kLargestBlobs = 4;
  static constexpr std::chrono::minutes kIdle{10};
  static constexpr std::chrono::hours kTerm{24};

  // `root` is the plane's state folder.
  static Result<BlobParts> Open(int root, std::uint64_t max_bytes);

  // How many bytes of the blob are here for this run; 0 where none are.
  Result<std::uint64_t> Offset(const std::string& run_id, std::string_view hash) const;
  // Durable on return. With the last piece the blob is checked and goes into the store; a wrong
  // hash is kIntegrity "blob.hash_mismatch" and takes the part with it. kInvalid "blob.piece",
  // "blob.too_large"; kOverloaded "blob.parts_full"; kUnavailable "blob.part_busy".
  Result<PieceAnswer> Append(const std::string& run_id, const BlobPiece& piece,
                             const BlobStore& blobs, WallTime now) const;
  // Removes parts that nobody went on with since `before`; how many.
  std::size_t SweepOlder(WallTime before) const;

 private:
  BlobParts(UniqueFd dir, std::uint64_t max_bytes) : dir_(std::move(dir)), max_bytes_(max_bytes) {}
  Result<PieceAnswer> Complete(const std::string& name, const BlobPiece& piece,
                               const BlobStore& blobs) const;
  Status MakeRoom(const std::string& run_id, const std::string& name, std::uint64_t bytes,
                  WallTime now) const;
  UniqueFd dir_;
  std::uint64_t max_bytes_;  // of one blob
};

}  // namespace writ::plane
