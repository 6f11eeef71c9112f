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
  // terminal. What fails is told there. `ruleset`: the job's, or -1.
  void Fork(std::uint64_t id, std::vector<UniqueFd> fds, int ruleset);
  // To its process group; nothing where it has been reaped.
  void Signal(std::uint64_t id, int signal) const;
  // Whose child that was; it is forgotten.
  std::optional<std::uint64_t> Reaped(pid_t pid);

 private:
  const LaunchPlan& plan_;
  std::map<std::uint64_t, pid_t> running_;  // unreaped children of this process
};

}  // namespace writ::backends::launch
