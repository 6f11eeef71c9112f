// What is left of a job's processes where nobody lived to say that its tree is dead: found again,
// ended, and looked for once more (L37, L38).
//
// A uid of the job's own names them. Without one they are known by the run's mark (kJobMark) in
// their environment, which every process inherits. A job can start something without it, but not
// without the filters of system calls that the job is held by: a process that was begun since, is
// held by more of them than we are, has no supervisor and does not show whose it is may be the
// job's, or somebody else's. It is not killed for that; it is named as left, and nothing is said to
// be verified.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "writ/backends/linux/process_mark.h"
#include "writ/backends/outcome.h"

namespace writ::backends {

// A job as its runner writes it down before it starts: its supervisor and its uid.
struct JobMark {
  ProcessMark supervisor;
  std::optional<uid_t> uid;  // nullopt: by a runner that did not write it down yet

  static std::optional<JobMark> Parse(std::string_view text);  // "PID START BOOT [UID]"
  std::string Text() const;
};

struct LeftTree {
  std::string run_id;
  uid_t uid = 0;
  // Of the job's supervisor. nullopt: there was none, so that nothing but what shows the mark can
  // be the job's.
  std::optional<ProcessMark> supervisor{};
};

// SIGKILL to all of it by pidfd, until a look finds nothing, at most about a second. Empty: nothing
// is left. Never signals this process.
std::vector<Leak> EndLeftTree(const LeftTree& left);

}  // namespace writ::backends
