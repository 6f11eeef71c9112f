#include "engine/slot_pool.h"

#include <algorithm>
#include <cstdint>
#include <string>

namespace writ::runner {
namespace {

// `wanted` of what is there, 0 for "all"; where the machine's figure is not known, what was wished
// for.
std::uint64_t Clamp(std::uint64_t wanted, std::uint64_t machine, std::uint64_t kept_free) {
  if (machine == 0) return wanted;
  const std::uint64_t usable = machine > kept_free ? machine - kept_free : 1;
  return wanted == 0 ? usable : std::min(wanted, usable);
}

std::uint64_t Part(std::uint64_t total, unsigned slots, std::uint64_t wish) {
  if (wish != 0) return total == 0 ? wish : std::min(wish, total);
  return total == 0 ? 0 : std::max<std::uint64_t>(1, total / slots);
}

// Adding may not wrap round: a share is at most the total, so what is reserved stays below it.
bool Has(std::uint64_t total, std::uint64_t reserved, std::uint64_t share) {
  return total == 0 || (reserved <= total && share <= total - reserved);
}

}  // namespace

SlotCapacity ClampToMachine(const SlotCapacity& wanted, const ResourceShare& machine,
                            const ResourceShare& kept_free) {
  SlotCapacity out;
  out.slots = std::clamp(wanted.slots, 1u, kMaxSlots);
  out.total.cpu_millis = Clamp(wanted.total.cpu_millis, machine.cpu_millis, kept_free.cpu_millis);
  out.total.memory_bytes =
      Clamp(wanted.total.memory_bytes, machine.memory_bytes, kept_free.memory_bytes);
  out.total.disk_bytes = Clamp(wanted.total.disk_bytes, machine.disk_bytes, kept_free.disk_bytes);
  return out;
}

std::uint64_t DiskTotal(std::uint64_t before, std::uint64_t free_now, std::uint64_t reserved) {
  const std::uint64_t most = free_now > UINT64_MAX - reserved ? UINT64_MAX : free_now + reserved;
  return std::max<std::uint64_t>(1, std::clamp(before, free_now, most));
}

ResourceShare EqualShare(const SlotCapacity& capacity, const ResourceShare& wish) {
  const unsigned slots = std::max(1u, capacity.slots);
  return ResourceShare{Part(capacity.total.cpu_millis, slots, wish.cpu_millis),
                       Part(capacity.total.memory_bytes, slots, wish.memory_bytes),
                       Part(capacity.total.disk_bytes, slots, wish.disk_bytes)};
}

SlotPool::SlotPool(const SlotCapacity& capacity) : capacity_(capacity) {
  capacity_.slots = std::clamp(capacity.slots, 1u, kMaxSlots);
  slots_.resize(capacity_.slots);
}

unsigned SlotPool::taken() const {
  return static_cast<unsigned>(std::count_if(
      slots_.begin(), slots_.end(), [](const Slot& s) { return s.state == State::kTaken; }));
}

unsigned SlotPool::out_of_service() const {
  return static_cast<unsigned>(std::count_if(slots_.begin(), slots_.end(),
                                             [](const Slot& s) { return s.state == State::kOut; }));
}

ResourceShare SlotPool::reserved() const {
  ResourceShare sum;
  for (const Slot& slot : slots_) {
    if (slot.state == State::kFree) continue;
    sum.cpu_millis += slot.share.cpu_millis;
    sum.memory_bytes += slot.share.memory_bytes;
    sum.disk_bytes += slot.share.disk_bytes;
  }
  return sum;
}

std::optional<unsigned> SlotPool::FreeSlot() const {
  for (unsigned i = 0; i < slots_.size(); ++i)
    if (slots_[i].state == State::kFree) return i;
  return std::nullopt;
}

Status SlotPool::CheckFit(const ResourceShare& share, const ResourceShare& given_back) const {
  const ResourceShare& total = capacity_.total;
  if (!Has(total.cpu_millis, 0, share.cpu_millis) ||
      !Has(total.memory_bytes, 0, share.memory_bytes) ||
      !Has(total.disk_bytes, 0, share.disk_bytes))
    return Error{.kind = ErrorKind::kUnsupported,
                 .code = "slots.too_large",
                 .message = "a run asks for more than this machine has for runs (" +
                            std::to_string(total.cpu_millis) + " thousandths of a CPU, " +
                            std::to_string(total.memory_bytes >> 20) + " MiB of memory, " +
                            std::to_string(total.disk_bytes >> 20) + " MiB of disk)",
                 .hint = "lower the run's share, or use a larger machine"};
  ResourceShare now = reserved();
  now.cpu_millis -= given_back.cpu_millis;
  now.memory_bytes -= given_back.memory_bytes;
  now.disk_bytes -= given_back.disk_bytes;
  if (!Has(total.cpu_millis, now.cpu_millis, share.cpu_millis) ||
      !Has(total.memory_bytes, now.memory_bytes, share.memory_bytes) ||
      !Has(total.disk_bytes, now.disk_bytes, share.disk_bytes))
    return Error{.kind = ErrorKind::kOverloaded,
                 .code = "slots.busy",
                 .message = "the CPU, memory or disk for another run is taken"};
  return {};
}

bool SlotPool::Fits(const ResourceShare& share) const {
  return FreeSlot().has_value() && CheckFit(share, {}).has_value();
}

Result<unsigned> SlotPool::Reserve(const ResourceShare& share) {
  if (out_of_service() == slots_.size())
    return Error{
        .kind = ErrorKind::kUnavailable,
        .code = "slots.none",
        .message = "every slot of this runner is out of service",
        .hint = "see the log, end what is left of the runs named there, and restart the runner"};
  WRIT_TRY(CheckFit(share, {}));
  std::optional<unsigned> slot = FreeSlot();
  if (!slot)
    return Error{.kind = ErrorKind::kOverloaded,
                 .code = "slots.busy",
                 .message = "every slot of this runner is taken"};
  slots_[*slot] = Slot{State::kTaken, share};
  return *slot;
}

Status SlotPool::Resize(unsigned slot, const ResourceShare& share) {
  if (slot >= slots_.size() || slots_[slot].state != State::kTaken)
    return Error{.kind = ErrorKind::kConflict,
                 .code = "slots.not_taken",
                 .message = "a slot that is not taken has no share"};
  WRIT_TRY(CheckFit(share, slots_[slot].share));
  slots_[slot].share = share;
  return {};
}

Status SlotPool::End(unsigned slot, Teardown teardown) {
  if (slot >= slots_.size() || slots_[slot].state != State::kTaken)
    return Error{.kind = ErrorKind::kConflict,
                 .code = "slots.not_taken",
                 .message = "a slot that is not taken cannot be given back"};
  if (teardown == Teardown::kVerified)
    slots_[slot] = Slot{};
  else
    slots_[slot].state = State::kOut;
  return {};
}

Status SlotPool::TakeOut(unsigned slot) {
  if (slot >= slots_.size() || slots_[slot].state != State::kFree)
    return Error{.kind = ErrorKind::kConflict,
                 .code = "slots.not_free",
                 .message = "a slot that is not free cannot be taken out of service"};
  slots_[slot].state = State::kOut;
  return {};
}

}  // namespace writ::runner
