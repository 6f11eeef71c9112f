// A job that is a step of a recipe: root of the guest, or another of its users, in the root file
// system that it is to change.
//
// What holds it is the machine: it has no seccomp, no cgroup and no namespace but for its mounts,
// so that package tools work. It sees a second layer above the image's root, which is what comes
// out; /dev, /proc, /sys, /run and /tmp are the guest's and are not in it. Nothing of it is left
// running when it has ended (as pid 1).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "layered_workspace.h"
#include "writ/backends/microvm/messages.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::microvm {

struct RootJobOrder {
  RootJob job;
  std::vector<std::string> argv;
  std::vector<std::string> environment;  // of the host's word to start
  int out = -1;                          // borrowed
  int err = -1;
  std::string root;  // where the layers are mounted
};

// The proxy's listener on the guest's loopback.
Result<UniqueFd> ListenForProxy();

// Blocks until it has ended. `wanted` is asked now and then: whether it is to be ended (SIGTERM),
// or at once.
enum class JobWish { kGoOn, kEnd, kEndNow };
Result<Ended> RunRootJob(const RootJobOrder& order, const std::function<JobWish()>& wanted);

// What the program is started as: `writ-guest-agent --in-root ROOT UID GID CWD ARGV...`. Mounts,
// enters the root, gives up what it was and becomes ARGV; 126 or 127 where it cannot.
int EnterRootJob(int argc, char** argv);

}  // namespace writ::backends::microvm
