// The lists of system calls that there are for a job, by profile. What is not in a list is ENOSYS,
// as on an older kernel, so that libraries fall back. Stands beneath the job's filter
// (job_filter.h), which judges arguments: the kernel takes the stricter answer.
//
// kDefault is what shells, interpreters, compilers, linkers, version control and coding agents
// call. kBuild adds what package tools and test suites call beside them: System V IPC and message
// queues (fakeroot, database servers under test), asynchronous I/O, NUMA placement, scheduling
// classes, every personality (setarch), locked memory, clock queries by adjtimex. Neither has what
// the job's filter refuses anyway: tracing, mounts, namespaces, keys, BPF, io_uring.
#pragma once

#include <linux/filter.h>

#include <vector>

#include "writ/base/result.h"

namespace writ::backends {

enum class AllowList { kDefault, kBuild };

// Thread-safe. kUnsupported where libseccomp or the architecture lacks what is needed.
Result<std::vector<sock_filter>> CompileAllowList(AllowList list);

}  // namespace writ::backends
