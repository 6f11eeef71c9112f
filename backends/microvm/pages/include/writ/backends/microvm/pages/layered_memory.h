// LayeredMemory: the memory of a snapshot as files, bottom first: a base and at most kMaxOverlays
// differential layers.
//
// Every layer's file is as long as the memory and has a page at the offset that it has in memory.
// An overlay has a bitmap beside it (bit p % 8 of byte p / 8 for page p): where the bit is set the
// page is the overlay's, be it a hole there. Dirtiness comes from that bitmap, which the VMM or the
// kernel gave, never from content: a page that the guest zeroed stays zero (L31).
// A page is looked up once, when the files are opened: 1 byte of table per page. Holes (SEEK_HOLE)
// are zero pages and are never read. Each layer has one shared read-only mapping, for the kernel to
// copy from; our own reads are pread(2), so that a bad disk is an error and no SIGBUS.
// Thread-safety: reading from any thread; MarkZero by whoever verifies the page's leaf.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::microvm::pages {

inline constexpr std::uint64_t kPageBytes = 4096;
inline constexpr std::uint64_t kLeafBytes = 64 * 1024;
inline constexpr std::uint64_t kLeafPages = kLeafBytes / kPageBytes;
inline constexpr std::uint64_t kMaxMemoryBytes = 64ull << 30;
inline constexpr std::size_t kMaxOverlays = 6;

struct LayerFile {
  UniqueFd memory;
  UniqueFd dirty;  // none for the base
};

class LayeredMemory {
 public:
  // kInvalid "pages.memory" (sizes, layers), kDenied "pages.owner": a file that is not a regular
  // one of root's or of this uid's, closed to all others: it could change after it was verified.
  static Result<LayeredMemory> Open(std::vector<LayerFile> layers, std::uint64_t memory_bytes);

  LayeredMemory(LayeredMemory&& other) noexcept;
  LayeredMemory& operator=(LayeredMemory&&) = delete;
  ~LayeredMemory();

  std::uint64_t memory_bytes() const { return memory_bytes_; }
  std::uint64_t pages() const { return owner_.size(); }
  std::uint64_t leaves() const { return (pages() + kLeafPages - 1) / kLeafPages; }
  std::uint64_t LeafSize(std::uint64_t leaf) const;  // bytes; the last one may be short

  bool IsZero(std::uint64_t page) const { return owner_[page] == kZero; }
  void MarkZero(std::uint64_t page) { owner_[page] = kZero; }
  bool InTopLayer(std::uint64_t leaf) const;  // a page of it is the top overlay's
  bool IsHole(std::uint64_t leaf) const;      // all of it is zero without reading
  // The number of pages from `page` on, at most `most`, that lie in one piece where it lies.
  std::uint64_t RunFrom(std::uint64_t page, std::uint64_t most) const;
  // Whether the next page lies behind this one.
  bool Joined(std::uint64_t page) const { return owner_[page] == owner_[page + 1]; }
  const char* At(std::uint64_t page) const;  // in its layer's mapping; not for zero pages

  // `out` has LeafSize(leaf) bytes. kUnavailable "pages.read".
  Status ReadLeaf(std::uint64_t leaf, std::span<char> out) const;

 private:
  static constexpr std::uint8_t kZero = 0xff;
  struct Layer {
    UniqueFd file;
    const char* mapping = nullptr;
  };
  LayeredMemory() = default;
  Status AddLayer(LayerFile files);

  std::uint64_t memory_bytes_ = 0;
  std::vector<Layer> layers_;
  std::vector<std::uint8_t> owner_;        // the layer of each page, or kZero
  std::vector<std::uint64_t> top_leaves_;  // bitmap: leaves that the top overlay changes
};

}  // namespace writ::backends::microvm::pages
