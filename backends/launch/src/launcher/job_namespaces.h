// The job's namespaces, seen from the supervisor: it stays in the host's and has pid 1 of the job's
// pid namespace as its child.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "writ/backends/launch/launch_plan.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::launch {

struct JobInit {
  pid_t pid = -1;
  // SOCK_SEQPACKET. From init: kInitReady with descriptors, kFailureReport, and at the end of the
  // job's first process kJobEnded with its wait status. To init: kMapped with the
  // idmapped lower trees in the order of their steps, then kStart with two
  // descriptors (environment, report socket), then kTerminate where the container has a kernel of
  // its own. End-of-file on either side: the other one is gone.
  UniqueFd socket;
};

inline constexpr char kMapped[] = "M";
inline constexpr char kInitReady = 'R';
inline constexpr char kStart[] = "S";
inline constexpr char kTerminate[] = "T";
inline constexpr char kJobEnded = 'X';  // followed by the status in decimal
// While the job runs, where the plan accepts entries. To init: kEnter and the id, with descriptors
// (entry_forks.h); kSignalEntry, the id, a blank and the signal. From init: kEntryEnded, the id, a
// blank and the wait status. Numbers in decimal.
inline constexpr char kEnter = 'E';
inline constexpr char kSignalEntry = 'K';
inline constexpr char kEntryEnded = 'x';

// Makes the namespaces with init in them, its cgroups and its id maps, and lets init go on.
Result<JobInit> StartInit(const LaunchPlan& plan);

}  // namespace writ::backends::launch
