// The descendants of this process, whatever they did to hide: double forks and setsid change the
// parent, never the ancestor that is a subreaper.
//
// For the single-threaded supervisor only: nobody else reaps its children, so the pid of a direct
// child cannot be used again under its hands. Deeper pids are held by a pidfd and their parent is
// looked up again before a signal is sent.
#pragma once

#include <sys/types.h>

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

// Sends `signal` to every descendant found; the number that it reached.
int SignalDescendants(int signal);

// Processes of a uid, by /proc (for the check after a job: its uid is its alone).
std::vector<pid_t> ProcessesOfUid(uid_t uid);
// Tasks (threads) that count against RLIMIT_NPROC of a uid.
std::uint64_t TasksOfUid(uid_t uid);

// The name of a process (/proc/PID/comm) with unprintable bytes replaced; "?" where it is gone.
std::string ProgramName(pid_t pid);

}  // namespace writ::backends
