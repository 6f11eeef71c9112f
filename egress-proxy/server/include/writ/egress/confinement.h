// What a proxy process gives up before it reads a byte from a job.
//
// Order: descriptors, limits, identity, (threads start), filter. Every result is checked (L20); a
// step that fails ends the process.
#pragma once

#include <sys/types.h>

#include <optional>

#include "writ/base/result.h"
#include "writ/egress/proxy_process.h"

namespace writ::egress {

// Closes every descriptor above `highest`, drops core dumps and file writes (RLIMIT_CORE,
// RLIMIT_FSIZE 0), raises the soft descriptor limit to the hard one, makes the process undumpable.
Status ShedResources(int highest);

// Clears supplementary groups and takes `identity` for all of real, effective and saved ids; checks
// that there is no way back, and sets no_new_privs. Without an identity the caller must not be
// root.
Status EnterIdentity(const std::optional<ProxyIdentity>& identity);

// A default-deny system call filter on every thread of the process. What is not needed fails with
// EPERM - bind and listen, opening for writing, new threads and processes, sockets but TCP and UDP,
// executable memory; execve, ptrace and the like kill the process. The threads must already run.
Status InstallFilter();

}  // namespace writ::egress
