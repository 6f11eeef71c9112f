// Delegation in cgroup v2: whether the group that this process started in was handed over to it,
// and the taking over.
//
// A delegated group starts with an empty cgroup.subtree_control, and the kernel hands memory and io
// on only while no process sits in the group itself ("no internal processes",
// Documentation/admin-guide/cgroup-v2.rst). So a runner moves from its group into one below it,
// kRunnerLeaf, and has the group hand on what jobs' groups need. Where systemd has put it into a
// group below already (DelegateSubgroup=, systemd 254), only the second part is left.
//
// A group is ours when all of this holds; nothing else is ever changed or moved into:
// - it is not the root of the hierarchy: that is the whole host's;
// - its cgroup.procs and cgroup.subtree_control can be written;
// - it bears the mark of delegation, the attribute user.delegate (systemd 251, set by hand too) or
//   trusted.delegate with the value 1; or it is the ordinary user's who runs this, below a group
//   that is not; or it is the top of what this cgroup namespace (a container's) shows;
// - no process of others sits in it, and no group of others lies in it.
#pragma once

#include <string>
#include <vector>

#include "writ/base/result.h"

namespace writ::backends {

// The group below the delegated one that runners sit in. No group of a job is called so.
inline constexpr char kRunnerLeaf[] = "runner";

struct CgroupDelegation {
  enum class State {
    kAbsent,   // v2 has none of the controllers that we use; v1 may have them
    kRefused,  // what this process is in is not ours
    kOffered,  // it is, and does not hand on all that it could
    kTaken,    // this process is in a group below it, and jobs' groups are made beside that
  };
  State state = State::kAbsent;
  std::string group;                     // the delegated one; kRefused: the one we are in
  std::vector<std::string> controllers;  // of cpu, io, memory, pids: what it could hand on
  std::string reason;                    // kRefused: why
  std::string mend;

  bool Has(const std::string& controller) const;
};

// Changes nothing.
CgroupDelegation LookAtDelegation();

// Takes over what is offered: moves this process and its children in the group, hands controllers
// on. Before anything else is started; again, it does nothing. Nothing is undone at the end: the
// group's maker removes it, and other runners may be in it. kUnavailable
// "cgroup.not_handed_on": moved, and a controller was refused, with the kernel's word.
Status TakeDelegatedGroup();

}  // namespace writ::backends
