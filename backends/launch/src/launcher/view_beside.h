// What keeps the job and whatever is put beside it apart on gVisor's kernel, which has no Landlock
// and shows /proc/PID/environ to everybody who can name the process: a pid namespace each, and a
// /proc each that shows that one alone. Its mounts are the same for all, so what is put beside the
// job has a second tree of the same mounts as its root, which the job cannot reach.
//
// By the container's first process, which has CAP_SYS_ADMIN in gVisor's kernel for it, in this
// order: CopyView; ForkWithOwnPids, in the child ShowOwnProcesses(kBesideRoot) and chroot;
// HideCopy; ForkWithOwnPids for the job, in the child ShowOwnProcesses("").
#pragma once

#include <sys/types.h>

#include <string>

#include "writ/base/result.h"

namespace writ::backends::launch {

// Every mount but /proc once more below kBesideRoot.
Status CopyView();
// Nothing below kBesidePlace can be found any more, but from a root in it.
Status HideCopy();
// Of the caller's pid namespace.
Status ShowOwnProcesses(const std::string& root);
// fork(2); the child is pid 1 of a namespace.
pid_t ForkWithOwnPids();

}  // namespace writ::backends::launch
