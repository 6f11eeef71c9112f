// SlotPool: which runs may be on this machine at once, by count, CPU, memory and disk. A pure
// allocator.
//
// What it hands out never exceeds what it was made with, and that was clamped to what the machine
// really has (L42). A slot is free again only when its run's teardown was verified (L37): one whose
// run left something behind stays taken, with its share, until the process ends.
// Not thread-safe: whoever shares it holds a lock. Nothing waits and nothing loops over more than
// the slots.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "writ/base/result.h"

namespace writ::runner {

// CPU in thousandths of one, memory and disk in bytes. In a request 0 means: none asked for.
struct ResourceShare {
  std::uint64_t cpu_millis = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t disk_bytes = 0;
};

struct SlotCapacity {
  unsigned slots = 0;
  ResourceShare total;  // 0: not known, so not limited
};

// What an operator wants, cut down to the machine: `wanted.total` 0 means all that the machine has
// beyond `kept_free`. At least one slot and at most kMaxSlots; a share is never more than the
// machine's, and never 0 where the machine's is known.
inline constexpr unsigned kMaxSlots = 1024;
SlotCapacity ClampToMachine(const SlotCapacity& wanted, const ResourceShare& machine,
                            const ResourceShare& kept_free);

// What the runs of a file system may use of it in all, where `free_now` is free beside what is kept
// and `reserved` is given to those in work. They have written between nothing and all of that, so
// it lies between `free_now` and the sum; `before` is what it was taken for last, 0 at first. At
// least 1.
std::uint64_t DiskTotal(std::uint64_t before, std::uint64_t free_now, std::uint64_t reserved);

// The share of each of `capacity.slots` equal slots; an explicit wish of the operator replaces it.
ResourceShare EqualShare(const SlotCapacity& capacity, const ResourceShare& wish);

// What a run's supervising thread found when it took the run apart.
enum class Teardown {
  kVerified,    // nothing is left: the slot is free
  kUnverified,  // something is left, or nobody knows: the slot stays taken for good
};

class SlotPool {
 public:
  explicit SlotPool(const SlotCapacity& capacity);

  // The lowest free slot, with `share` taken from the total. kOverloaded "slots.busy": not now, a
  // run has to end first; kUnsupported "slots.too_large": more than this machine has at all;
  // kUnavailable "slots.none": every slot is out of service.
  Result<unsigned> Reserve(const ResourceShare& share);
  // Another share for a slot that is taken (a contract asked for more, or less). The same errors;
  // after one the slot keeps what it had.
  Status Resize(unsigned slot, const ResourceShare& share);
  // The run in `slot` has ended. kConflict "slots.not_taken" where the slot is free or out of
  // service: what was never acquired is never released.
  Status End(unsigned slot, Teardown teardown);
  // A free slot in which an earlier process has left something. kConflict "slots.not_free".
  Status TakeOut(unsigned slot);

  // Whether Reserve(share) would be answered now.
  bool Fits(const ResourceShare& share) const;
  // The disk of all runs together, as the file system has it now; what was reserved stays.
  void SetDiskTotal(std::uint64_t bytes) { capacity_.total.disk_bytes = bytes; }
  const SlotCapacity& capacity() const { return capacity_; }
  unsigned taken() const;
  unsigned out_of_service() const;
  ResourceShare reserved() const;  // by taken slots and those out of service
  ResourceShare ShareOf(unsigned slot) const { return slots_.at(slot).share; }

 private:
  enum class State { kFree, kTaken, kOut };
  struct Slot {
    State state = State::kFree;
    ResourceShare share;
  };
  Status CheckFit(const ResourceShare& share, const ResourceShare& given_back) const;
  std::optional<unsigned> FreeSlot() const;

  SlotCapacity capacity_;
  std::vector<Slot> slots_;
};

}  // namespace writ::runner
