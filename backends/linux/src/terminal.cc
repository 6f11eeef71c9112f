#include "writ/backends/linux/terminal.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <string>
#include <string_view>
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

constexpr unsigned kSlaveMajor = 136;

// gVisor does not know how to open it through the master. Its devpts is mounted by nobody else.
UniqueFd OpenByNumber(int master, std::string_view multiplexer) {
  unsigned number = 0;
  if (::ioctl(master, TIOCGPTN, &number) != 0) return {};
  const std::string dir(multiplexer.substr(0, multiplexer.rfind('/') + 1));
  UniqueFd slave(::open((dir + std::to_string(number)).c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC));
  struct stat st {};
  if (!slave || ::fstat(slave.get(), &st) != 0) return {};
  const bool is_it =
      S_ISCHR(st.st_mode) && major(st.st_rdev) == kSlaveMajor && minor(st.st_rdev) == number;
  if (!is_it) errno = ENODEV;
  return is_it ? std::move(slave) : UniqueFd();
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
  if (!terminal.slave && errno == ENOTTY && std::string_view(multiplexer) == kOwnTerminals)
    terminal.slave = OpenByNumber(terminal.master.get(), multiplexer);
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

Status SendTerminalSize(int socket, TerminalSize size) {
  if (::send(socket, &size, sizeof size, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
    return SysError(errno, "terminal.resize", "cannot set the terminal's size");
  return {};
}

}  // namespace writ::backends
