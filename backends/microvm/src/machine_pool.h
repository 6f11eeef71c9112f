// MachinePool: clones of snapshots that are restored ahead of their runs and wait, paused.
//
// One thread makes them, one at a time, watches them, and takes down what is of no use any more:
// too old, of a snapshot that is not the newest any more, or no longer whole - a machine that
// stands still says nothing, so whatever is heard from one is its end. Made for the snapshots that
// runs have asked for last, then for the newest ones, as long as `memory_bytes`, the host's free
// memory and the uids allow it.
// A clone is claimed once and never comes back: it is in a jail, groups and a uid of its own
// (LaunchedJob), and ends with the run that has it. All of them end with this process, killed or
// not: each has a supervisor that sees the end of its socket.
// Thread-safe.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "machine_fit.h"
#include "page_supply.h"
#include "writ/backends/backend.h"
#include "writ/backends/job/host_features.h"
#include "writ/backends/job/launched_tier.h"
#include "writ/backends/microvm/microvm_backend.h"
#include "writ/base/unique_fd.h"

namespace writ::backends {

class HeldClone;
class CloneMaker;
class PoolUids;

class MachinePool {
 public:
  using Clock = std::chrono::steady_clock;
  MachinePool(const MicrovmBackendOptions& options, std::shared_ptr<PageSupply> pages);
  // Takes down what waits.
  ~MachinePool();
  MachinePool(const MachinePool&) = delete;
  MachinePool& operator=(const MachinePool&) = delete;

  // What the host can do now. The first call begins; what waits was made with what was found
  // before, and goes where that was something else.
  void Use(const HostFeatures& features, const Capabilities& capabilities);
  // What waits goes, and is made anew.
  void Forget();

  // What the launch of a run's own needs of its machine.
  struct Claimed {
    std::unique_ptr<HeldMachine> machine;
    UniqueFd supplies;  // for the owner of the machine: kHeldWord is in it
    UniqueFd supplies_back;
    bool served = false;
    std::string not_served;  // why not
  };
  // One of this snapshot ("sha256:...") that answers. Nothing: there is none now.
  std::optional<Claimed> Claim(const std::string& snapshot);
  WaitingMachines Counts() const;

 private:
  struct Wanted {
    std::string snapshot;
    std::string image;
    MachineSize size;
  };
  using Clones = std::vector<std::unique_ptr<HeldClone>>;

  void Loop(const std::stop_token& stop);
  // `mutex_` is held.
  std::optional<Wanted> Missing();
  Clones TakeUseless();
  void Wait(const std::stop_token& stop);
  std::vector<Wanted> Look() const;
  void MakeOne(const Wanted& wanted);

  const MicrovmBackendOptions options_;
  const std::shared_ptr<PageSupply> pages_;
  const std::shared_ptr<PoolUids> uids_;
  const UniqueFd event_;  // something has changed

  mutable std::mutex mutex_;  // guards all below
  std::shared_ptr<CloneMaker> maker_;
  Clones waiting_;
  std::vector<Wanted> wanted_;
  std::map<std::string, Clock::time_point> asked_;
  Clock::time_point not_before_{};  // after a failure
  WaitingMachines counts_;

  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace writ::backends
