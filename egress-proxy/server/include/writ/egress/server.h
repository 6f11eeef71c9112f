// The proxy process as a function: what main() runs.
#pragma once

#include <optional>

#include "writ/egress/proxy_process.h"

namespace writ::egress {

// Serves the control socket `kControlFd` until it closes or says stop. Confines the whole process
// and leaves threads behind: the caller ends the process with the returned status and nothing else.
// 0 stopped in order · 1 could not start · 3 the runner went away.
int RunProxy(const std::optional<ProxyIdentity>& identity);

}  // namespace writ::egress
