// EntryForks: forks what is put beside the job, in the process that is the job's parent - the
// supervisor, or the init of the job's namespaces - and knows it by its id until it is reaped.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "writ/backends/launch/launch_plan.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::launch {

class EntryForks {
 public:
  explicit EntryForks(const LaunchPlan& plan) : plan_(plan) {}

  // `fds`: the report socket (job_setup.h), the request, and its three streams where it has no
  // terminal; with one in a kernel of the container's own: input, output and sizes of its relay.
  // What fails is told there. `ruleset`: the job's, or -1.
  void Fork(std::uint64_t id, std::vector<UniqueFd> fds, int ruleset);
  // That it could not be forked.
  static void Report(int report, const char* stage, int err);
  // To its process group; nothing where it has been reaped.
  void Signal(std::uint64_t id, int signal) const;
  struct Ended {
    std::uint64_t id = 0;
    int status = 0;
  };
  // What has ended by this child's end, a terminal's relay included; it is forgotten.
  std::optional<Ended> Reaped(pid_t pid, int status);

 private:
  struct Running {
    pid_t pid = -1;  // unreaped children of this process
    pid_t relay = -1;
    UniqueFd over;  // its other end tells the relay that the command has ended
    int status = 0;
  };
  const LaunchPlan& plan_;
  std::map<std::uint64_t, Running> running_;
};

}  // namespace writ::backends::launch
