// GuestMemory: one clone's memory, as the page server fills it.
//
// Holds what each page of the guest may still get. A page gets the snapshot's content once: when it
// was placed, or removed by the VMM (EVENT_REMOVE), it is *spent*, and whatever asks for it after
// that gets zeros (L31). That holds for pages that went without an event too.
// Placing stops at what is in the way and says so; nothing here blocks but for the disk and the
// VMM's own memory lock, and nothing loops more often than there are pages in the call.
// Thread: one, the clone's own.
#pragma once

#include <cstdint>

#include "counter_cell.h"
#include "page_bits.h"
#include "userfault.h"
#include "writ/backends/microvm/pages/guest_regions.h"
#include "writ/backends/microvm/pages/verified_memory.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::microvm::pages {

// What became of a page.
enum class Answer {
  kPlaced,
  kPresent,  // it was there: woken
  kAgain,    // not now: memory is being removed
  kGone,     // nothing is mapped there any more: woken
  kVmmGone,
};

class GuestMemory {
 public:
  GuestMemory(UniqueFd uffd, GuestRegions regions, VerifiedMemory& memory, CounterCells& counters);

  int uffd() const { return uffd_.get(); }
  const GuestRegions& regions() const { return regions_; }
  std::uint64_t pages() const { return memory_.memory().pages(); }
  bool IsSpent(std::uint64_t page) const { return spent_.Has(page); }
  // A page that is left out of prefetch; never placed but for its own fault.
  void LeaveOut(std::uint64_t page) { left_out_.Set(page); }
  bool IsLeftOut(std::uint64_t page) const { return left_out_.Has(page); }
  // Of its whole leaf: what is known of one page is known of all.
  void LeaveOutNoMore(std::uint64_t page);

  // The page at `address` (page-aligned, `page` of the snapshot) and up to `around` - 1 behind it
  // that can be had in the same call. Errors: what makes the clone fail.
  struct Placing {
    std::uint64_t pages = 0;
    Answer answer = Answer::kPlaced;
  };
  Result<Placing> Fault(std::uint64_t address, std::uint64_t page, std::uint64_t around);
  // All pages of `mask` (bit i is page `first` + i) that are not spent and not left out, in pieces
  // as large as possible. kAgain ends it early, as does kVmmGone.
  Result<Placing> Prefetch(std::uint64_t first, std::uint64_t mask);
  // The same for all of the leaf that `page` is in; counted with what is placed for faults.
  Result<Placing> PlaceLeaf(std::uint64_t page);

  // The VMM has removed this range: zero from now on.
  void Removed(std::uint64_t start, std::uint64_t end);

 private:
  Result<Placing> PlaceAhead(std::uint64_t first, std::uint64_t mask);
  std::uint64_t Together(std::uint64_t page, std::uint64_t most) const;
  Result<Answer> Judge(int err) const;

  const UniqueFd uffd_;
  const GuestRegions regions_;
  VerifiedMemory& memory_;
  CounterCells& counters_;
  PageBits spent_;
  PageBits left_out_;
};

}  // namespace writ::backends::microvm::pages
