// The cgroup that this process was started in.
#pragma once

namespace writ::cli {

// Takes it over where it was delegated (backends/linux/cgroup_delegation.h), so that jobs' limits
// are held by cgroup v2. Of a process that is about to run jobs, before it starts another one. Log
// lines `runner.cgroup` say what came of it: no reason to stop, as each job's limits are held or
// refused by what is there.
void TakeOwnCgroup();

}  // namespace writ::cli
