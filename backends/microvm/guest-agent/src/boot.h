// Boot: from the kernel's hand-over to a machine that an agent can serve in.
#pragma once

#include "writ/backends/microvm/agent.h"
#include "writ/base/result.h"

namespace writ::backends::microvm {

// As pid 1 in the initramfs: file systems, modules, tokens, root image with a writable layer in
// memory, inputs, cgroups, loopback, channel. What is wrong is told to the console by whoever
// calls.
Result<AgentOptions> BootGuest();

}  // namespace writ::backends::microvm
