#include "engine/fitting.h"

#include <sys/statvfs.h>

#include <algorithm>

#include "engine/engine_impl.h"
#include "writ/protocol/contract.h"
#include "writ/runner/plan.h"

namespace writ::runner {
namespace {

// Of a contract that is not verified yet. One that cannot be read needs nothing: its session
// refuses it.
RunNeeds NeedsOfOffer(const json::Value& contract) {
  Result<protocol::Contract> parsed = protocol::Contract::Parse(contract);
  return parsed ? NeedsOf(*parsed) : RunNeeds{};
}

// `value` + `kept` without wrapping round.
bool HasRoom(std::uint64_t free_now, std::uint64_t value, std::uint64_t kept) {
  return value == 0 || free_now == 0 || (kept <= free_now && value <= free_now - kept);
}

std::optional<std::uint64_t> FreeDisk(int dir) {
  struct statvfs disk {};
  if (fstatvfs(dir, &disk) != 0) return std::nullopt;
  return std::uint64_t{disk.f_bavail} * disk.f_frsize;
}

ResourceShare ShareFor(const RunNeeds& needs, const ResourceShare& ordinary) {
  return ResourceShare{needs.cpu_millis != 0 ? needs.cpu_millis : ordinary.cpu_millis,
                       needs.memory_bytes != 0 ? needs.memory_bytes : ordinary.memory_bytes,
                       needs.disk_bytes != 0 ? needs.disk_bytes : ordinary.disk_bytes};
}

}  // namespace

SlotCapacity CapacityFor(const RunnerConfig& config, const backends::MachineCapacity& machine) {
  return ClampToMachine(SlotCapacity{config.slots,
                                     {config.capacity.cpu_millis, config.capacity.memory_bytes,
                                      config.capacity.disk_bytes}},
                        ResourceShare{machine.cpu_millis, machine.memory_bytes},
                        ResourceShare{0, config.limits.min_free_memory_bytes});
}

MachineShare EachShare(const SlotCapacity& capacity, const RunnerConfig& config,
                       const OperatorLimits& limits) {
  const ResourceShare& total = capacity.total;
  MachineShare share{.most_memory_bytes = total.memory_bytes,
                     .most_cpu_millis = total.cpu_millis,
                     .most_disk_bytes = total.disk_bytes};
  // A run that is alone on its machine has all of it.
  if (config.slots > 1 || config.capacity.memory_bytes != 0)
    share.memory_bytes =
        EqualShare(capacity, ResourceShare{limits.cpu_millis, limits.memory_bytes, 0}).memory_bytes;
  return share;
}

FreeNow LookAtFree(int sessions_dir) {
  FreeNow now;
  now.memory_bytes = backends::ProbeMachine().available_memory_bytes;
  now.disk_bytes = FreeDisk(sessions_dir).value_or(0);
  return now;
}

std::optional<std::uint64_t> UsableDisk(int sessions_dir, const OperatorLimits& limits) {
  const std::optional<std::uint64_t> free_now = FreeDisk(sessions_dir);
  if (!free_now) return std::nullopt;
  return *free_now - std::min(*free_now, limits.min_free_disk_bytes);
}

std::uint64_t OrdinaryDisk(const SlotCapacity& capacity, std::uint64_t reserved,
                           std::uint64_t most) {
  const std::uint64_t total = capacity.total.disk_bytes;
  if (total == 0) return 0;
  std::uint64_t part = EqualShare(capacity, {}).disk_bytes;
  if (most != 0) part = std::min(part, most);
  const std::uint64_t left = total - std::min(total, reserved);
  return left < part && left > part / 2 ? left : part;
}

Status CheckFree(std::uint64_t memory_bytes, std::uint64_t disk_bytes, const FreeNow& now,
                 const OperatorLimits& limits) {
  auto lacks = [](std::string code, const char* what, std::uint64_t asked, std::uint64_t free_now) {
    return Error{.kind = ErrorKind::kOverloaded,
                 .code = std::move(code),
                 .message = "the run asks for " + std::to_string(asked >> 20) + " MiB of " + what +
                            ", and this machine has " + std::to_string(free_now >> 20) +
                            " MiB left",
                 .hint = "end what uses it, or use another runner"};
  };
  if (!HasRoom(now.memory_bytes, memory_bytes, limits.min_free_memory_bytes))
    return lacks("fit.memory", "memory", memory_bytes, now.memory_bytes);
  if (!HasRoom(now.disk_bytes, disk_bytes, limits.min_free_disk_bytes))
    return lacks("fit.disk", "disk", disk_bytes, now.disk_bytes);
  return {};
}

ResourceShare Engine::Impl::OrdinaryShare() const {
  ResourceShare share = EqualShare(
      pool.capacity(), ResourceShare{live->limits.cpu_millis, live->limits.memory_bytes, 0});
  share.disk_bytes =
      OrdinaryDisk(pool.capacity(), pool.reserved().disk_bytes, live->limits.disk_bytes);
  return share;
}

void Engine::Impl::LookAtDisk() {
  const std::optional<std::uint64_t> usable = UsableDisk(sessions.get(), live->limits);
  if (!usable) return;
  const std::uint64_t wished = config.capacity.disk_bytes;
  const std::uint64_t total =
      DiskTotal(pool.capacity().total.disk_bytes, *usable, pool.reserved().disk_bytes);
  pool.SetDiskTotal(wished == 0 ? total : std::min(total, wished));
}

Result<unsigned> Engine::Impl::SlotToAskFor() {
  LookAtDisk();
  WRIT_ASSIGN(unsigned slot, pool.Reserve(OrdinaryShare()));
  WRIT_TRY(pool.Resize(slot, ResourceShare{}));
  return slot;
}

Status Engine::Impl::Fit(unsigned slot, const json::Value& contract) {
  const RunNeeds needs = NeedsOfOffer(contract);
  if (needs.memory_bytes != 0 || needs.disk_bytes != 0)
    WRIT_TRY(CheckFree(needs.memory_bytes, needs.disk_bytes, LookAtFree(sessions.get()),
                       Live()->limits));
  std::lock_guard lock_state(mutex);
  LookAtDisk();
  WRIT_TRY(pool.Resize(slot, ShareFor(needs, OrdinaryShare())));
  changed.notify_all();  // it may be less than before
  return {};
}

bool Engine::Impl::AwaitFit(unsigned slot, const json::Value& contract, std::stop_token stop) {
  const RunNeeds needs = NeedsOfOffer(contract);
  std::unique_lock lock_state(mutex);
  auto settled = [&] {
    LookAtDisk();
    Status sized = pool.Resize(slot, ShareFor(needs, OrdinaryShare()));
    return sized || sized.error().kind != ErrorKind::kOverloaded;
  };
  if (settled()) return true;
  // Who waits holds nothing, so two that wait never wait for each other.
  (void)pool.Resize(slot, ResourceShare{});
  changed.notify_all();
  // Disk that others give back is told by nobody.
  while (!changed.wait_for(lock_state, stop, kLookAgain, settled))
    if (stop.stop_requested()) return false;
  return true;
}

MachineShare Engine::Impl::ShareOf(unsigned slot) const {
  std::lock_guard lock_state(mutex);
  MachineShare share = EachShare(pool.capacity(), config, live->limits);
  share.disk_bytes = pool.ShareOf(slot).disk_bytes;
  // What was given stays given, whatever others have taken since.
  share.most_disk_bytes = std::max(share.most_disk_bytes, share.disk_bytes);
  // A run that no other runner will be asked for is refused where it cannot be given back.
  if (!config.only_run.empty()) {
    const FreeNow now = LookAtFree(sessions.get());
    auto beyond = [](std::uint64_t free_now, std::uint64_t kept) {
      return free_now == 0 ? 0 : free_now > kept ? free_now - kept : 1;
    };
    const OperatorLimits& limits = live->limits;
    if (now.memory_bytes != 0)
      share.most_memory_bytes =
          std::min(share.most_memory_bytes, beyond(now.memory_bytes, limits.min_free_memory_bytes));
  }
  return share;
}

}  // namespace writ::runner
