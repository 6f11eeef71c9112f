// FaultWorld: a plane and a runner as real processes of the fault build, in a folder of their own,
// which can be told to die somewhere, are restarted, and are looked over afterwards.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "writ/base/child.h"
#include "writ/protocol/json.h"

namespace writ::test {

struct CommandResult {
  int code = -1;
  std::string out;
};

// A process with its output in a file.
struct Daemon {
  Child child;
  std::string log;  // path
};

// How a process that is told to die does it: alone, or with its machine's power (power_cut.h).
enum class Death { kKilled, kPowerCut };

class FaultWorld {
 public:
  FaultWorld();  // makes plane, repository, secret and enrolment token; nothing runs yet
  ~FaultWorld();
  FaultWorld(const FaultWorld&) = delete;
  FaultWorld& operator=(const FaultWorld&) = delete;

  // `fault`: the value of WRIT_FAULT, empty: none. Return when the process serves.
  void StartPlane(const std::string& fault = "", Death death = Death::kKilled);
  void StartRunner(const std::string& fault = "", unsigned slots = 1, Death death = Death::kKilled);
  // Of the plane's configuration, before it starts: a member of `plane` in config.json.
  void ConfigurePlane(const std::string& member, json::Value value);
  // Runners that start from now on find the plane at this port of loopback.
  void GoBy(unsigned port) { road_ = port; }
  unsigned plane_port() const { return port_; }
  // Waits for the runner to have its identity and to ask for work.
  bool AwaitServing();
  void KillPlane();
  void KillRunner();
  // SIGTERM and a clean end; the exit code.
  int DrainRunner();
  int StopPlane();
  Daemon& plane() { return plane_; }
  Daemon& runner() { return runner_; }

  // Submits a run that writes a file, prints its secret in several forms and lasts a moment.
  std::string Submit();
  // The same, with a change that goes to the plane in several pieces.
  std::string SubmitLarge();
  std::string SubmitTrue();  // the shortest there is
  // One of that tier with a process that ends by no signal but SIGKILL and hides from its parent.
  std::string SubmitStubborn(const std::string& isolation);
  void Cancel(const std::string& run_id);
  std::string AskRotation();  // of the one runner; its key's id then
  std::string RunnerKeyId();
  json::Value Run(const std::string& run_id);      // of `writ runs`; null where it is not there
  json::Value Runs(std::size_t newest = 100'000);  // at most so many
  bool Ended(const json::Value& run);

  // Waits (with a deadline) for the process to die of SIGKILL: the fault.
  bool AwaitDeath(Daemon& daemon, std::chrono::milliseconds limit);
  // Waits for plane or runner to say that it came to the fault point.
  bool AwaitReached(const std::string& point, std::chrono::milliseconds limit);
  bool Await(const std::function<bool()>& what, std::chrono::milliseconds limit);

  // What must hold at the end; each problem is one sentence.
  std::vector<std::string> ReceiptProblems(
      const std::string& run_id);  // one, verifies, blobs there
  // Of a run's receipt: whether it is one of our own vocabulary (`environment`).
  bool HasEnvironment(const std::string& run_id);
  // What its runner finished after the plane had closed the run: there, and well but for the
  // plane's signature.
  std::vector<std::string> LateProblems(const std::string& run_id);
  std::vector<std::string> LeftoverProblems();  // after both have ended
  std::vector<std::string> SecretProblems();
  std::vector<std::string> WaitingReceipts();  // of `writ runner receipts`

  const std::string& root() const { return root_; }
  std::string Log();  // the tail of both logs, for a failure's message
  const std::string& secret() const { return secret_; }

 private:
  CommandResult Writ(const std::vector<std::string>& args, const std::string& input = "");
  CommandResult Command(const std::string& program, const std::vector<std::string>& args,
                        const std::string& input = "");
  Daemon Start(const std::vector<std::string>& args, const std::string& fault,
               const std::string& name, Death death);
  std::string SubmitWith(std::uint64_t bytes);
  std::string root_, secret_;
  unsigned port_ = 0;
  unsigned road_ = 0;  // 0: straight to the plane
  int starts_ = 0;
  Daemon plane_, runner_;
};

std::vector<std::string> ListedFaults();  // of `writ --list-faults`

// `value` in the forms in which a leak would be looked for.
std::map<std::string, std::string> EncodingsOf(const std::string& value);

}  // namespace writ::test
