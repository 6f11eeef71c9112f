// LaunchedJob: one job that writ-launch carries, from its private directories to the check that all
// is gone.
//
// Prepare starts the launcher, which makes everything ready for the job and waits; Start sends the
// environment and the word. Members are in the order of acquisition; Dismantle undoes them
// backwards. The supervisor (writ-launch) is our child; if we die, it ends the tree by itself.
#pragma once

#include <netinet/in.h>
#include <poll.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/backends/backend.h"
#include "writ/backends/head_tail.h"
#include "writ/backends/job/host_features.h"
#include "writ/backends/job/launched_entries.h"
#include "writ/backends/job/launched_stillness.h"
#include "writ/backends/job/launched_tier.h"
#include "writ/backends/job/launchers.h"
#include "writ/backends/job/resource_watch.h"
#include "writ/backends/launch/messages.h"
#include "writ/backends/linux/process_mark.h"
#include "writ/base/child.h"

namespace writ::backends {

class LaunchedJob final : public Job {
 public:
  // `tier`, the capabilities and `launchers` outlive the job. The plan has passed Check.
  static Result<std::unique_ptr<LaunchedJob>> Make(Plan plan, const LaunchedTier& tier,
                                                   HostFound found, Launchers& launchers);
  ~LaunchedJob() override;

  Result<UniqueFd> TakeProxyListener() override;
  std::string ProxyAddress() const override;
  std::string HomePath() const override;
  std::string WorkspacePath() const override;
  const Capabilities* PreparedWith() const override { return found_.capabilities; }
  std::string RootImage() const override { return root_.digest; }
  std::optional<MachineStart> StartOfMachine() const override;
  Status Start(Environment late) override;
  Outcome Watch(OutputSink& sink, const WatchOptions& options) override;
  Result<std::unique_ptr<Entry>> Enter(EntryPlan plan) override;
  Status Pause() override;
  Status Resume() override;
  Result<std::unique_ptr<TerminalInput>> OpenTerminalInput() override;
  std::string Leftovers() const override;
  Dismantled Dismantle() override;

  // Of a machine that is held for another job's (launch::kMachineHeld): what that needs of it,
  // once.
  std::vector<UniqueFd> TakeMachine() { return std::move(machine_fds_); }
  // What it and its groups have used and passed so far; from any thread until Dismantle.
  void AddUsageTo(Usage& usage) const;
  std::optional<LimitKind> LimitPassed() const;

 private:
  LaunchedJob(Plan plan, const LaunchedTier& tier, HostFound found, Launchers& launchers);

  Status Acquire();
  Status OpenStatusFile();
  Status MakeProxyListener();
  Status CheckPlaces() const;
  Status MakeCgroups();
  LaunchFacts Facts() const;
  Status EngageLauncher();
  // The launcher's next message that is not a record; its failure becomes setup_failed_.
  Result<launch::Message> AwaitWord(std::vector<UniqueFd>& fds);
  Status AwaitReady();
  Status SendGo(const Environment& late);
  void Tell(const launch::Message& message);
  // False: the control socket is at its end.
  bool OnControl(std::vector<RefusedConnect>& refused, const WatchOptions& options);
  Status OpenWrittenTrees();
  Outcome MakeOutcome(ResourceWatch& resources) const;
  void EndSupervisor(Dismantled& result);
  void CheckNobodyLeft(Dismantled& result);

  Plan plan_;
  const LaunchedTier& tier_;
  const HostFound found_;
  const HostFeatures& features_;  // of found_
  Launchers& launchers_;
  const JobPaths paths_;
  const Limits outside_;  // LaunchedTier::OutsideLimits

  HeldRoot root_;
  UniqueFd session_dir_;
  std::string machine_;  // ReadyMessage::machine
  std::vector<UniqueFd> machine_fds_;
  bool made_dirs_ = false;
  std::vector<UniqueFd> written_trees_;  // what counts as the job's disk
  UniqueFd status_file_;
  CgroupPlan groups_;
  CgroupSet cgroups_;
  UniqueFd listener_;
  std::optional<sockaddr_in> proxy_;
  UniqueFd control_;
  UniqueFd out_;
  UniqueFd err_;  // empty where merged
  // Of the job's terminal, from Start on; `out_` is a copy of the master then.
  UniqueFd terminal_master_, terminal_slave_;
  const std::shared_ptr<LaunchedStillness> stillness_ = std::make_shared<LaunchedStillness>();
  UniqueFd typed_, sizes_;  // to the terminal of a job in a machine
  bool machine_of_own_ = false;
  LaunchedEntries::Terminals terminals_ = LaunchedEntries::Terminals::kHandedOut;
  const std::shared_ptr<LaunchedEntries> entries_ = std::make_shared<LaunchedEntries>();
  Child supervisor_;
  std::optional<ProcessMark> mark_;  // of it
  pid_t init_ = 0;                   // of the job's pid namespace; held alive by the supervisor
  std::uint64_t own_tasks_ = 0;      // among the tree's, not the job's
  bool spawned_ = false;
  bool started_ = false;

  std::optional<launch::EndedMessage> ended_;
  std::optional<launch::SetupFailedMessage> setup_failed_;
  std::chrono::steady_clock::time_point start_time_{};
  std::optional<Dismantled> dismantled_;
};

// What the launcher's last message means (also for a message found in a status file).
Outcome OutcomeOf(const launch::EndedMessage& ended);
Outcome OutcomeOf(const launch::SetupFailedMessage& failed);
// Where that is why a process could not be set up: no pseudo terminal was left. Not the disk's
// affair, though the kernel has one number for both.
std::optional<Error> NoTerminalLeft(std::string_view stage, int err);

}  // namespace writ::backends
