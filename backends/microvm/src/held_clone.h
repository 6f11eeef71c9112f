// HeldClone: one clone of a snapshot, restored and paused, in a jail of its own; made by a
// CloneMaker, which is what one look at the host has found.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "machine_fit.h"
#include "machine_folder.h"
#include "microvm_tier.h"
#include "page_supply.h"
#include "writ/backends/job/launched_job.h"
#include "writ/backends/job/launched_tier.h"
#include "writ/backends/job/launchers.h"
#include "writ/backends/microvm/microvm_backend.h"
#include "writ/base/result.h"
#include "writ/base/secret.h"
#include "writ/base/unique_fd.h"

namespace writ::backends {

// The uids of clones: each is lent to one. One whose clone was not seen to end is not lent again
// (L37). Thread-safe.
class PoolUids {
 public:
  explicit PoolUids(const PoolOptions& options);
  std::optional<Identity> Take();
  void GiveBack(uid_t uid);

 private:
  const bool lent_;  // else there is one for all: the runner's own
  std::mutex mutex_;
  std::set<uid_t> free_;
};

class CloneMaker {
 public:
  CloneMaker(const MicrovmBackendOptions& options, std::shared_ptr<PageSupply> pages,
             const HostFeatures& features, const Capabilities& capabilities);
  const MicrovmTier& tier() const { return tier_; }
  Launchers& launchers() { return launchers_; }
  HostFound found() const { return {features_, &capabilities_}; }
  const Capabilities& capabilities() const { return capabilities_; }

 private:
  const std::shared_ptr<const HostFeatures> features_;
  const Capabilities capabilities_;
  const MicrovmTier tier_;
  Launchers launchers_;
};

class HeldClone final : public HeldMachine {
 public:
  // Takes as long as a restore. `image`: digest; `size`: of its machine.
  static Result<std::unique_ptr<HeldClone>> Make(std::shared_ptr<CloneMaker> maker,
                                                 std::shared_ptr<PoolUids> uids,
                                                 const PoolOptions& options,
                                                 const std::string& image, const MachineSize& size);
  ~HeldClone() override { (void)End(); }

  const std::string& snapshot() const { return snapshot_; }
  const MachineSize& size() const { return size_; }
  std::chrono::steady_clock::time_point made() const { return made_; }
  bool served() const { return fds_.size() > 2; }
  const std::string& not_served() const { return not_served_; }
  const CloneMaker* maker() const { return maker_.get(); }
  // Readable, or at its end: it is not whole any more.
  std::vector<int> Watched() const;
  // Its monitor says that it stands still. False: it does not, or not in time.
  bool Answers();
  // For the owner of the machine, once.
  Status GiveTo(int supplies);

  void AddTo(Usage& usage) const override { job_->AddUsageTo(usage); }
  std::optional<LimitKind> Passed() const override { return job_->LimitPassed(); }
  Dismantled End() override;

 private:
  HeldClone(std::shared_ptr<CloneMaker> maker, std::shared_ptr<PoolUids> uids, uid_t uid,
            MachineFolder folder)
      : maker_(std::move(maker)), uids_(std::move(uids)), uid_(uid), folder_(std::move(folder)) {}

  const std::shared_ptr<CloneMaker> maker_;
  const std::shared_ptr<PoolUids> uids_;
  const uid_t uid_;
  std::optional<MachineFolder> folder_;
  std::unique_ptr<LaunchedJob> job_;
  std::vector<UniqueFd> fds_;  // control, channel, the page server's where there is one
  Secret tokens_;
  std::string snapshot_;
  std::string not_served_;
  MachineSize size_;
  std::chrono::steady_clock::time_point made_ = std::chrono::steady_clock::now();
  std::optional<Dismantled> ended_;
};

// Ends and removes what the clones of an earlier process have left in `dir`.
void EndLeftClones(const std::string& dir, const HostFeatures& features);

}  // namespace writ::backends
