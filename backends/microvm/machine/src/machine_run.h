// MachineRun: one machine, from its parts to its end, and the job in it - told to the supervisor in
// the words of inside.h.
#pragma once

#include <string>

#include "writ/backends/launch/launch_plan.h"
#include "writ/backends/microvm/machine_order.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::microvm {

struct MachineFds {
  UniqueFd told;    // one byte when the machine is ready
  UniqueFd socket;  // the supervisor's
  UniqueFd out;     // the job's
  UniqueFd err;
  UniqueFd listener;  // the proxy's, handed out with Ready; may be empty
  UniqueFd supplies;  // kSuppliesWord; may be empty
};

// Why the machine never got ready; empty: it did, and the rest was told to the supervisor.
std::string RunMachine(const MachineOrder& order, const launch::LaunchPlan& plan, MachineFds fds);

}  // namespace writ::backends::microvm
