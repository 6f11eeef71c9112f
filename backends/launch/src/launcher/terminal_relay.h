// TerminalRelay: between a terminal in a kernel of the container's own (gVisor), whose descriptors
// cannot leave it, and pipes of the host that came in. It also does what terminals there do not:
// the keys that send a signal, and SIGWINCH. Which processes are in the foreground that kernel
// tells nobody, so both reach the terminal's whole session.
#pragma once

#include <sys/types.h>

#include "writ/backends/linux/terminal.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::launch {

// Borrowed. `sizes` brings one TerminalSize a datagram; `over` ends with the terminal's command.
struct RelayEnds {
  int in = -1;
  int out = -1;
  int sizes = -1;
  int over = -1;
};

// Forks it as a child of the caller. It ends when all that the command wrote has been passed on, or
// nobody is left to pass it to. `session`: the command's.
Result<pid_t> StartTerminalRelay(const Terminal& terminal, const RelayEnds& ends, pid_t session);

}  // namespace writ::backends::launch
