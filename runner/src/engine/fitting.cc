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

ResourceShare ShareFor(const RunNeeds& needs, const ResourceShare& ordinary) {
  return ResourceShare{needs.cpu_millis != 0 ? needs.cpu_millis : ordinary.cpu_millis,
                       needs.memory_bytes != 0 ? needs.memory_bytes : ordinary.memory_bytes};
}

}  // namespace

SlotCapacity CapacityFor(const RunnerConfig& config, const backends::MachineCapacity& machine) {
  return ClampToMachine(
      SlotCapacity{config.slots, {config.capacity.cpu_millis, config.capacity.memory_bytes}},
      ResourceShare{machine.cpu_millis, machine.memory_bytes},
      ResourceShare{0, config.limits.min_free_memory_bytes});
}

FreeNow LookAtFree(int sessions_dir) {
  FreeNow now;
  now.memory_bytes = backends::ProbeMachine().available_memory_bytes;
  struct statvfs disk {};
  if (fstatvfs(sessions_dir, &disk) == 0)
    now.disk_bytes = std::uint64_t{disk.f_bavail} * disk.f_frsize;
  return now;
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
  return EqualShare(pool.capacity(),
                    ResourceShare{live->limits.cpu_millis, live->limits.memory_bytes});
}

Result<unsigned> Engine::Impl::SlotToAskFor() {
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
  WRIT_TRY(pool.Resize(slot, ShareFor(needs, OrdinaryShare())));
  changed.notify_all();  // it may be less than before
  return {};
}

bool Engine::Impl::AwaitFit(unsigned slot, const json::Value& contract, std::stop_token stop) {
  const RunNeeds needs = NeedsOfOffer(contract);
  std::unique_lock lock_state(mutex);
  const ResourceShare wanted = ShareFor(needs, OrdinaryShare());
  auto settled = [&] {
    Status sized = pool.Resize(slot, wanted);
    return sized || sized.error().kind != ErrorKind::kOverloaded;
  };
  if (settled()) return true;
  // Who waits holds nothing, so two that wait never wait for each other.
  (void)pool.Resize(slot, ResourceShare{});
  changed.notify_all();
  return changed.wait(lock_state, stop, settled);
}

MachineShare Engine::Impl::ShareOfRuns() const {
  std::lock_guard lock_state(mutex);
  const ResourceShare& total = pool.capacity().total;
  MachineShare share{0, total.memory_bytes, total.cpu_millis, 0};
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
    share.most_disk_bytes = beyond(now.disk_bytes, limits.min_free_disk_bytes);
  }
  // A run that is alone on its machine has all of it.
  if (config.slots > 1 || config.capacity.memory_bytes != 0)
    share.memory_bytes = OrdinaryShare().memory_bytes;
  return share;
}

}  // namespace writ::runner
