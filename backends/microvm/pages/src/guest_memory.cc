#include "guest_memory.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <utility>

namespace writ::backends::microvm::pages {

GuestMemory::GuestMemory(UniqueFd uffd, GuestRegions regions, VerifiedMemory& memory,
                         CounterCells& counters)
    : uffd_(std::move(uffd)),
      regions_(std::move(regions)),
      memory_(memory),
      counters_(counters),
      spent_(memory.memory().pages()),
      left_out_(memory.memory().pages()) {}

void GuestMemory::LeaveOutNoMore(std::uint64_t page) {
  const std::uint64_t first = page / kLeafPages * kLeafPages;
  for (std::uint64_t i = 0; i < kLeafPages && first + i < pages(); ++i) left_out_.Clear(first + i);
}

// How many pages from a verified one on can be placed by one call.
std::uint64_t GuestMemory::Together(std::uint64_t page, std::uint64_t most) const {
  const LayeredMemory& source = memory_.memory();
  std::uint64_t count = 0;
  while (count < most && memory_.IsVerified(page + count)) {
    const std::uint64_t in_leaf = kLeafPages - (page + count) % kLeafPages;
    const std::uint64_t run = source.RunFrom(page + count, std::min(most - count, in_leaf));
    for (std::uint64_t i = 0; i < run; ++i, ++count)
      if (spent_.Has(page + count) || (count > 0 && left_out_.Has(page + count))) return count;
    if (run < in_leaf || count >= most || page + count >= source.pages()) break;
    // Goes on in the next leaf only where it lies in the same file behind this one.
    if (!memory_.IsVerified(page + count) || !source.Joined(page + count - 1)) break;
  }
  return count;
}

Result<Answer> GuestMemory::Judge(int err) const {
  switch (err) {
    case 0:
      return Answer::kPlaced;
    case EAGAIN:
      return Answer::kAgain;
    case EEXIST:
      return Answer::kPresent;
    case ENOENT:
      return Answer::kGone;
    case ESRCH:
      return Answer::kVmmGone;
    case EFAULT:
      return Error{ErrorKind::kUnavailable, "pages.read",
                   "a snapshot's memory file cannot be read"};
    default:
      return SysError(err, "pages.place", "a page cannot be given to the guest");
  }
}

Result<GuestMemory::Placing> GuestMemory::Fault(std::uint64_t address, std::uint64_t page,
                                                std::uint64_t around) {
  Placement placement;
  const bool removed = spent_.Has(page);
  bool zero = removed;
  if (removed) {
    placement = PlaceZero(uffd_.get(), address, kPageBytes);
  } else {
    WRIT_TRY(memory_.Verify(page));
    const auto place = regions_.PlaceOf(page);
    const std::uint64_t most = place ? std::min(around, place->pages) : 1;
    const std::uint64_t count = Together(page, std::max<std::uint64_t>(most, 1));
    zero = memory_.memory().IsZero(page);
    placement =
        zero ? PlaceZero(uffd_.get(), address, count * kPageBytes)
             : PlaceCopy(uffd_.get(), address, memory_.memory().At(page), count * kPageBytes);
  }
  const std::uint64_t placed = placement.placed / kPageBytes;
  (zero ? counters_.bytes_zero : counters_.bytes_file).Add(placement.placed);
  if (placed > 0) {
    spent_.Set(page, placed);
    return Placing{placed, Answer::kPlaced};  // the faulting page at least: what was asked for
  }
  WRIT_ASSIGN(const Answer answer, Judge(placement.err));
  if (answer == Answer::kPresent || answer == Answer::kGone) {
    spent_.Set(page);
    Wake(uffd_.get(), address, kPageBytes);
  }
  return Placing{0, answer};
}

Result<GuestMemory::Placing> GuestMemory::Prefetch(std::uint64_t first, std::uint64_t mask) {
  WRIT_ASSIGN(const Placing out, PlaceAhead(first, mask));
  counters_.bytes_prefetched.Add(out.pages * kPageBytes);
  counters_.prefetched_pages.Add(out.pages);
  return out;
}

Result<GuestMemory::Placing> GuestMemory::PlaceLeaf(std::uint64_t page) {
  const std::uint64_t first = page / kLeafPages * kLeafPages;
  const std::uint64_t count = std::min(kLeafPages, pages() - first);
  WRIT_ASSIGN(const Placing out, PlaceAhead(first, (1ull << count) - 1));
  counters_.bytes_file.Add(out.pages * kPageBytes);
  return out;
}

Result<GuestMemory::Placing> GuestMemory::PlaceAhead(std::uint64_t first, std::uint64_t mask) {
  Placing out;
  while (mask != 0) {
    const auto at = static_cast<std::uint64_t>(std::countr_zero(mask));
    const std::uint64_t page = first + at;
    const auto wanted = static_cast<std::uint64_t>(std::countr_one(mask >> at));
    const auto place = regions_.PlaceOf(page);
    std::uint64_t passed = 1;
    if (place && !spent_.Has(page) && !left_out_.Has(page)) {
      for (std::uint64_t i = 0; i < wanted; ++i) WRIT_TRY(memory_.Verify(page + i));
      const std::uint64_t count = Together(page, std::min(wanted, place->pages));
      const Placement placement = memory_.memory().IsZero(page)
                                      ? PlaceZero(uffd_.get(), place->address, count * kPageBytes)
                                      : PlaceCopy(uffd_.get(), place->address,
                                                  memory_.memory().At(page), count * kPageBytes);
      const std::uint64_t placed = placement.placed / kPageBytes;
      spent_.Set(page, placed);
      out.pages += placed;
      passed = placed;
      if (placed == 0) {
        WRIT_ASSIGN(out.answer, Judge(placement.err));
        if (out.answer == Answer::kAgain || out.answer == Answer::kVmmGone) return out;
        spent_.Set(page);
        passed = 1;
        out.answer = Answer::kPlaced;
      }
    }
    for (std::uint64_t i = 0; i < passed; ++i) mask &= ~(1ull << (at + i));
  }
  return out;
}

void GuestMemory::Removed(std::uint64_t start, std::uint64_t end) {
  // Region by region: what lies outside of them is not ours.
  for (const GuestRegion& region : regions_.list()) {
    const std::uint64_t from = std::max(start, region.address);
    const std::uint64_t to = std::min(end, region.address + region.bytes);
    if (from >= to) continue;
    const std::uint64_t first = (region.offset + (from - region.address)) / kPageBytes;
    const std::uint64_t count = (to - from + kPageBytes - 1) / kPageBytes;
    spent_.Set(first, count);
    counters_.removed_pages.Add(count);
  }
}

}  // namespace writ::backends::microvm::pages
