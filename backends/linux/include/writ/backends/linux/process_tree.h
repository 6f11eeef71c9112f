// The descendants of this process, whatever they did to hide: double forks and setsid change the
// parent, never the ancestor that is a subreaper.
//
// For the single-threaded supervisor only: nobody else reaps its children, so the pid of a direct
// child cannot be used again under its hands. Deeper pids are held by a pidfd and their parent is
// looked up again before a signal is sent.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "writ/base/result.h"

namespace writ::backends {

// Orphans below us become our children from now on.
Status BecomeSubreaper();

struct TreeMember {
  pid_t pid = 0;
  pid_t parent = 0;
};
// A snapshot of all descendants, parents before children (CONFIG_PROC_CHILDREN, else a walk of
// /proc).
std::vector<TreeMember> Descendants();
// The same of another process that is a subreaper, for looking only: its pid is held by the caller
// (not yet waited for).
std::vector<TreeMember> DescendantsOf(pid_t root);
// CPU time of those, of what they have waited for, and of what `root` has waited for.
std::chrono::microseconds TreeCpuTime(pid_t root);
std::uint64_t TreeTasks(pid_t root);  // threads of the descendants

// Sends `signal` to every descendant found; the number that it reached.
int SignalDescendants(int signal);

// Processes of a uid, by /proc (for the check after a job: its uid is its alone).
std::vector<pid_t> ProcessesOfUid(uid_t uid);
bool IsOfUid(pid_t pid, uid_t uid);  // and alive
// Tasks (threads) that count against RLIMIT_NPROC of a uid.
std::uint64_t TasksOfUid(uid_t uid);

// The name of a process (/proc/PID/comm) with unprintable bytes replaced; "?" where it is gone.
std::string ProgramName(pid_t pid);

}  // namespace writ::backends
