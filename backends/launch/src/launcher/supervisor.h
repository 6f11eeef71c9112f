// Supervisor: stays beside one job from fork to the death of its last descendant.
//
// One thread, one poll loop over {children (signalfd), backend (control socket), the job's
// supervised calls, a deadline}. Phases: prepared (Ready was sent) -> running -> [terminating:
// SIGTERM was sent, grace runs] -> [leaving: a container's own init ends the rest] -> killing
// (SIGKILL in passes until the kernel says that no child is left) -> ended.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "connect_supervision.h"
#include "entry_table.h"
#include "job_namespaces.h"
#include "job_setup.h"
#include "writ/backends/launch/launch_plan.h"
#include "writ/backends/launch/messages.h"

namespace writ::backends::launch {

// From SIGKILL to "tree dead"; a process stuck in the kernel past it is reported as a leak.
inline constexpr std::chrono::seconds kKillBound{10};
// From the start to Ready, and from fork to exec.
inline constexpr std::chrono::seconds kSetupBound{15};

class Supervisor {
 public:
  // `supplies`: for the owner of a machine, else empty.
  Supervisor(LaunchPlan plan, UniqueFd supplies);
  // Exit code of the launcher: 0 when the end was told or written down.
  int Run();

 private:
  using Time = std::chrono::steady_clock::time_point;
  enum class Phase { kRunning, kTerminating, kLeaving, kKilling };
  enum class SetupResult { kRunning, kEnded };

  Status Prepare();
  Status AwaitInit(std::vector<UniqueFd>& handed_out);
  // The environment on its memfd; empty: the backend wants no job any more.
  Result<UniqueFd> AwaitGo();
  Status StartJob(UniqueFd environment);
  SetupResult AwaitExec();
  void OnInit();
  void OnJobEnded(int status);
  void OnFailureReport(const std::string& text);
  void OnGuestWord(const std::string& bytes);
  void JudgeMachine();
  void HoldMachine(const char* word);
  std::chrono::milliseconds SetupBound() const;
  void Loop();
  void ReapAll();
  void OnControl();
  void End(EndedMessage::Cause cause);
  void StartKilling();
  void KillPass();
  void OnDeadline();
  std::unique_ptr<ConnectSupervision> Supervise(UniqueFd listener);
  void OnRefused(const RefusedMessage& refused);
  int Finish(const Message& last);
  bool Send(const Message& message, int flags);
  void WriteStatus(const Message& message);
  void RemoveCgroups();

  LaunchPlan plan_;
  UniqueFd supplies_;
  UniqueFd ruleset_;
  UniqueFd signals_;
  JobInit init_;                 // where the plan has namespaces
  UniqueFd report_;              // from the job until exec
  std::vector<UniqueFd> typed_;  // for the terminal of a job in a machine: input, sizes
  UniqueFd terminal_[2];         // the job's, until they are handed out: master and slave
  std::unique_ptr<ConnectSupervision> connects_;
  EntryTable entries_;
  Phase phase_ = Phase::kRunning;
  Time started_{};
  Time deadline_{};
  pid_t job_ = -1;
  bool children_left_ = true;
  bool backend_gone_ = false;
  std::size_t refused_sent_ = 0;
  EndedMessage ended_;
  std::string machine_;                // ReadyMessage::machine
  bool guest_done_ = false;            // kGuestDone came
  std::optional<EndedMessage> guest_;  // what was said of a job in a machine
  std::optional<SetupFailedMessage> setup_failure_;
};

}  // namespace writ::backends::launch
