#include "writ/backends/linux/terminal.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <utility>

namespace writ::backends {
namespace {

#ifndef TIOCGPTPEER
constexpr unsigned long kGetPeer = 0x5441;
#else
constexpr unsigned long kGetPeer = TIOCGPTPEER;
#endif

// TTYAUX_MAJOR and the minor of the multiplexer, the same on every devpts.
constexpr unsigned kMajor = 5;
constexpr unsigned kMinor = 2;

Error Cannot(int err) {
  return SysError(err, "terminal.open", "cannot make a pseudo terminal");
}

}  // namespace

Result<Terminal> OpenTerminal(const char* multiplexer, TerminalSize size) {
  UniqueFd place(::open(multiplexer, O_PATH | O_CLOEXEC));
  struct stat st {};
  if (!place || ::fstat(place.get(), &st) != 0) return Cannot(errno);
  if (!S_ISCHR(st.st_mode) || major(st.st_rdev) != kMajor || minor(st.st_rdev) != kMinor)
    return Cannot(ENODEV);
  Terminal terminal;
  terminal.master.reset(::open(multiplexer, O_RDWR | O_NOCTTY | O_CLOEXEC));
  const int unlocked = 0;
  if (!terminal.master || ::ioctl(terminal.master.get(), TIOCSPTLCK, &unlocked) != 0)
    return Cannot(errno);
  terminal.slave.reset(::ioctl(terminal.master.get(), kGetPeer, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!terminal.slave) return Cannot(errno);
  WRIT_TRY(ResizeTerminal(terminal.master.get(), size));
  return terminal;
}

Status ResizeTerminal(int master, TerminalSize size) {
  winsize wanted{};
  wanted.ws_row = size.rows;
  wanted.ws_col = size.columns;
  if (::ioctl(master, TIOCSWINSZ, &wanted) != 0)
    return SysError(errno, "terminal.resize", "cannot set the terminal's size");
  return {};
}

}  // namespace writ::backends
