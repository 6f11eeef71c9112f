// VerifiedMemory: a snapshot's memory whose every byte is checked before a guest gets it.
//
// A leaf (64 KiB) is hashed at the first touch of any of its pages and compared with the leaf
// table, whose root was compared with the manifest's. The result is kept for as long as this value
// lives and is shared by all clones: each leaf is hashed once, whoever comes first; others wait for
// it. A leaf that is all hole is no exception: its digest must be the one of zeros, which costs 32
// bytes of comparison and no reading - else a hole that was punched would become zeros in a guest.
// What holds afterwards: nobody but the owner of the file could change it (LayeredMemory::Open).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "writ/backends/microvm/pages/layered_memory.h"
#include "writ/backends/microvm/pages/memory_digest.h"
#include "writ/base/result.h"

namespace writ::backends::microvm::pages {

class VerifiedMemory {
 public:
  // The table comes from DecodeLeafTable. kInvalid where it is of another size.
  static Result<std::unique_ptr<VerifiedMemory>> Make(LayeredMemory memory, LeafTable table);

  // Thread-safe. kIntegrity "pages.leaf": the page's leaf is not what the manifest says, now and
  // for good. kUnavailable "pages.read": it cannot be read now.
  Status Verify(std::uint64_t page) {
    return state_[page / kLeafPages].load(std::memory_order_acquire) == kGood
               ? Status()
               : VerifyLeaf(page / kLeafPages);
  }
  bool IsVerified(std::uint64_t page) const {
    return state_[page / kLeafPages].load(std::memory_order_acquire) == kGood;
  }
  // Of a page whose leaf is verified. Pages that were found to be all zero are zero pages too.
  const LayeredMemory& memory() const { return memory_; }

  // A leaf of it was found to be another one: it is of no use to further clones.
  bool damaged() const { return damaged_.load(std::memory_order_relaxed); }
  std::uint64_t hashed_leaves() const { return hashed_.load(std::memory_order_relaxed); }

 private:
  enum State : std::uint8_t { kUnknown, kBusy, kGood, kBad };
  VerifiedMemory(LayeredMemory memory, LeafTable table);
  Status VerifyLeaf(std::uint64_t leaf);
  Result<State> Judge(std::uint64_t leaf);

  LayeredMemory memory_;
  const LeafTable table_;
  std::vector<std::atomic<std::uint8_t>> state_;
  std::atomic<std::uint64_t> hashed_{0};
  std::atomic<bool> damaged_{false};
};

}  // namespace writ::backends::microvm::pages
