// A process of the session between fork and exec: the only place that forks, and the readable order
// of the steps. The job itself and whatever is put beside it go the same way.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/backends/launch/entry_request.h"
#include "writ/backends/launch/inside.h"
#include "writ/backends/launch/launch_plan.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::launch {

// Reports that are no failure: one byte, and descriptors. The notification descriptor; the master
// and the slave of the terminal.
inline constexpr char kListenerReport = 'L';
inline constexpr char kTerminalReport = 'T';

// What is a process's own; everything else is the plan's.
struct ProcessStart {
  const std::vector<std::string>& argv;
  const std::vector<std::string>& env;  // NAME=value
  const std::string& cwd;
  std::optional<TerminalSize> terminal;
  int slave = -1;  // of a terminal that is there already: it is not opened and not told of
  // Standard input (-1: /dev/null), output and error, borrowed; not looked at with a terminal.
  int in = -1;
  int out = -1;
  int err = -1;
  // kOurs, below init alone: until its exec the child runs on the caller's memory and the caller
  // stands still. For the job itself: nothing else is there yet that could hold the child up. Never
  // for a copy, which has no exec.
  enum class Memory { kCopied, kOurs };
  Memory memory = Memory::kCopied;
  const EntryRequest* copy = nullptr;  // in the place of exec; argv and cwd are not looked at
};

// Forks it as a child of the caller: the supervisor, or the init of the job's namespaces, whose job
// is in its cgroups and has lost its rights already. `ruleset`: -1 where the plan has no Landlock.
// `report`: SOCK_SEQPACKET, closed on exec in the child: it carries a kTerminalReport, a
// kListenerReport, a kFailureReport, or end-of-file when exec has happened (a copy begins).
Result<pid_t> ForkProcess(const LaunchPlan& plan, const ProcessStart& start, int ruleset,
                          UniqueFd report);

}  // namespace writ::backends::launch
