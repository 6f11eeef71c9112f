// ProcessJob: one job of the process tier, from its private directories to the check that all is
// gone.
//
// Members are in the order of acquisition; Dismantle undoes them backwards. The supervisor
// (writ-launch) is our child; if we die, it ends the tree by itself.
#pragma once

#include <netinet/in.h>
#include <poll.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "host_features.h"
#include "resource_watch.h"
#include "writ/backends/backend.h"
#include "writ/backends/head_tail.h"
#include "writ/backends/launch/messages.h"
#include "writ/base/child.h"

namespace writ::backends {

class ProcessJob final : public Job {
 public:
  // `features` outlives the job. The plan has passed Check.
  static Result<std::unique_ptr<ProcessJob>> Make(Plan plan, const HostFeatures& features,
                                                  std::string launcher);
  ~ProcessJob() override;

  Result<UniqueFd> TakeProxyListener() override;
  std::string ProxyAddress() const override;
  std::string HomePath() const override;
  std::string WorkspacePath() const override;
  Status Start(Environment late) override;
  Outcome Watch(OutputSink& sink, const WatchOptions& options) override;
  std::string Leftovers() const override;
  Dismantled Dismantle() override;

 private:
  ProcessJob(Plan plan, const HostFeatures& features, std::string launcher)
      : plan_(std::move(plan)), features_(features), launcher_(std::move(launcher)) {}

  Status Acquire();
  Status OpenStatusFile();
  Status MakeProxyListener();
  Status SpawnLauncher(Environment late);
  Status AwaitStart();
  void Tell(const launch::Message& message);
  // False: the control socket is at its end.
  bool OnControl(std::vector<RefusedConnect>& refused, const WatchOptions& options);
  Status OpenWrittenTrees();
  Outcome MakeOutcome(ResourceWatch& resources) const;
  void EndSupervisor(Dismantled& result);
  void CheckNobodyLeft(Dismantled& result);

  Plan plan_;
  const HostFeatures& features_;
  std::string launcher_;

  UniqueFd session_dir_;
  bool made_dirs_ = false;
  std::vector<UniqueFd> written_trees_;  // what counts as the job's disk
  UniqueFd status_file_;
  CgroupSet cgroups_;
  UniqueFd listener_;
  std::optional<sockaddr_in> proxy_;
  UniqueFd control_;
  UniqueFd out_;
  UniqueFd err_;  // empty where merged
  Child supervisor_;
  bool spawned_ = false;

  std::optional<launch::EndedMessage> ended_;
  std::optional<launch::SetupFailedMessage> setup_failed_;
  std::chrono::steady_clock::time_point start_time_{};
  std::optional<Dismantled> dismantled_;
};

// What the launcher's last message means (also for a message found in a status file).
Outcome OutcomeOf(const launch::EndedMessage& ended);
Outcome OutcomeOf(const launch::SetupFailedMessage& failed);

}  // namespace writ::backends
