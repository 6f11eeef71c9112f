// LaunchedTier: what tells one tier that writ-launch carries from another. Everything they have in
// common - the job's life, its limits, its end, what is left of it after a crash - is LaunchedJob
// and LaunchedBackend.
//
// Stateless but for its options; thread-safe.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/backends/backend.h"
#include "writ/backends/capability.h"
#include "writ/backends/job/host_features.h"
#include "writ/backends/job/launch_planning.h"
#include "writ/backends/job/limit_holders.h"
#include "writ/backends/launch/launch_plan.h"
#include "writ/backends/outcome.h"
#include "writ/backends/plan.h"
#include "writ/base/unique_fd.h"

namespace writ::backends {

// Where the job finds its places, as absolute paths in its own view.
struct JobPaths {
  std::string workspace;
  std::string home;
  std::string tmp;
};

// A machine that another launch holds for this job. The job's own tree and groups do not have it.
class HeldMachine {
 public:
  virtual ~HeldMachine() = default;
  virtual void AddTo(Usage& usage) const = 0;           // while it is there
  virtual std::optional<LimitKind> Passed() const = 0;  // of what is held around it
  virtual Dismantled End() = 0;                         // idempotent
};

// What a tier keeps for one job from its preparation to its end.
struct HeldRoot {
  UniqueFd lock;                       // on what must not go away meanwhile
  std::string digest;                  // of the root image; empty: there is none
  std::vector<launch::ViewStep> view;  // what of it the job sees
  // Of a machine: the snapshot ("sha256:...") that it is to start from, of which what it needs was
  // put into the session; or why one that there is was not. Both empty: there is none.
  std::string snapshot;
  std::string no_snapshot;
  UniqueFd snapshot_lock;  // while its memory comes from the snapshot's own file
  // Why all of its memory was copied: no page server gives it.
  std::string no_pages;
  // What the machine's owner gets beside its plan (launch::kInsideSuppliesFd), where its memory
  // comes from a page server.
  UniqueFd supplies;
  UniqueFd supplies_back;                  // its other end, as long as the job is there
  std::unique_ptr<HeldMachine> machine{};  // of `snapshot`, restored ahead of this job
  bool served = false;                     // its memory comes from a page server
};

class LaunchedTier {
 public:
  virtual ~LaunchedTier() = default;
  virtual std::string_view Name() const = 0;  // registry name
  virtual Tier GetTier() const = 0;
  // kNamespaces: the launcher adds one task (init), makes the proxy's listener inside and hands out
  // the home, which is in the view alone.
  virtual JobSurroundings Surroundings() const = 0;
  // Tries what this host can do for this tier; leaves nothing behind.
  virtual HostFeatures Probe() const = 0;
  // Pure: the same features give the same words.
  virtual Capabilities Describe(const HostFeatures& features) const = 0;
  // What this tier cannot do of a plan that is otherwise met (kUnsupported).
  virtual Status CheckPlan(const Plan& plan, const HostFeatures& features) const = 0;
  // Tasks that are not the job's in its groups and below its supervisor.
  virtual std::uint64_t OwnTasks() const { return writ::backends::OwnTasks(Surroundings()); }
  // Below it a job of this tier does not start: what sets it up counts as its memory.
  virtual std::uint64_t LeastMemory(const HostFeatures& features) const = 0;
  // What is held around everything that is started for the job, on this host. Where the job is all
  // of it, its own limits.
  virtual Limits OutsideLimits(const Plan& plan) const { return plan.limits; }
  // What holds each of the job's limits.
  virtual std::vector<HeldLimit> HoldersOf(const Limits& limits,
                                           const HostFeatures& features) const {
    return HoldLimits(limits, features, Surroundings());
  }
  // From the launcher's start to Ready, and from Start to the job's; 0: as long as processes take.
  virtual std::chrono::milliseconds StartBound() const { return std::chrono::milliseconds(0); }
  // Before anything is made for the job (kUnsupported: what the plan names is not there).
  virtual Result<HeldRoot> Hold(const Plan&) const { return HeldRoot(); }
  // Once the private directories of the run are there: puts into `session_dir` what the tier needs
  // there. Goes with them.
  virtual Status Furnish(const Plan&, const HostFeatures&, int, HeldRoot&) const { return {}; }
  // Nothing of the job runs any more; what was held is still there.
  virtual void OnEnd(const Plan&, HeldRoot&) const {}
  virtual std::optional<WaitingMachines> Waiting() const { return std::nullopt; }
  virtual void ForgetWaiting() const {}
  virtual JobPaths PathsOf(const Plan& plan) const = 0;
  virtual launch::LaunchPlan PlanLaunch(const Plan& plan, const HostFeatures& features,
                                        const LaunchFacts& facts) const = 0;
};

}  // namespace writ::backends
