// Pseudo terminals: made by the process that will have one, in its own view and as its own user, so
// that the device belongs to it and to nobody else.
#pragma once

#include "writ/base/result.h"
#include "writ/base/terminal_size.h"
#include "writ/base/unique_fd.h"

namespace writ::backends {

// Where a job's own devpts is mounted, and where the host's is.
inline constexpr char kOwnTerminals[] = "/dev/pts/ptmx";
inline constexpr char kHostTerminals[] = "/dev/ptmx";

struct Terminal {
  UniqueFd master;  // O_NONBLOCK is not set
  UniqueFd slave;   // nobody's controlling terminal yet
};
// `multiplexer`: one of the two above; anything but the real device is refused (a job may have put
// something else there). The slave is opened through the master, not by name (TIOCGPTPEER, 4.13),
// but for a view's own on gVisor.
Result<Terminal> OpenTerminal(const char* multiplexer, TerminalSize size);

// Tells the terminal's foreground processes (SIGWINCH).
Status ResizeTerminal(int master, TerminalSize size);
// The same to whoever relays a terminal of another kernel: one datagram.
Status SendTerminalSize(int socket, TerminalSize size);

}  // namespace writ::backends
