#include "terminal_relay.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "writ/base/close_descriptors.h"

namespace writ::backends::launch {
namespace {

constexpr int kFirst = 64;  // out of the way of whatever stands below

class Relay {
 public:
  Relay(int master, int slave, const RelayEnds& ends, pid_t session)
      : master_(master), slave_(slave), ends_(ends), session_(session) {}

  void Run() {
    for (int fd : {master_, ends_.in, ends_.out})
      ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
    for (;;) {
      const int terminal = (shown_.empty() ? POLLIN : 0) | (typed_.empty() ? 0 : POLLOUT);
      pollfd fds[5] = {{typed_.empty() ? ends_.in : -1, POLLIN, 0},
                       {master_, static_cast<short>(terminal), 0},
                       {ends_.out, static_cast<short>(shown_.empty() ? 0 : POLLOUT), 0},
                       {ends_.sizes, POLLIN, 0},
                       {over_ ? -1 : ends_.over, POLLIN, 0}};
      if (::poll(fds, 5, over_ && shown_.empty() ? 0 : -1) < 0 && errno != EINTR) return;
      over_ = over_ || fds[4].revents != 0;
      if (fds[3].revents != 0) TakeSize();
      if (fds[0].revents != 0 && !TakeTyped()) return;
      if (!Pass(typed_, master_)) return;
      const bool more = shown_.empty() && TakeShown();
      if (!Pass(shown_, ends_.out)) return;
      if (over_ && !more && shown_.empty()) return;
    }
  }

 private:
  bool TakeTyped() {
    char piece[4096];
    const ssize_t n = ::read(ends_.in, piece, sizeof piece);
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    for (char c : std::string_view(piece, static_cast<std::size_t>(n))) {
      const int signal = SignalOf(c);
      if (signal == 0) typed_ += c;
      if (signal != 0) ToSession(signal);
    }
    return n > 0;
  }

  bool TakeShown() {
    char piece[16 * 1024];
    const ssize_t n = ::read(master_, piece, sizeof piece);
    if (n > 0) shown_.append(piece, static_cast<std::size_t>(n));
    return n > 0;
  }

  // False: nobody is there to take it.
  static bool Pass(std::string& bytes, int to) {
    if (bytes.empty()) return true;
    const ssize_t n = ::write(to, bytes.data(), bytes.size());
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    bytes.erase(0, static_cast<std::size_t>(n));
    return true;
  }

  void TakeSize() {
    TerminalSize size;
    if (::recv(ends_.sizes, &size, sizeof size, 0) != static_cast<ssize_t>(sizeof size)) {
      ends_.sizes = -1;
      return;
    }
    if (ResizeTerminal(master_, size)) ToSession(SIGWINCH);
  }

  int SignalOf(char c) const {
    termios now{};
    if (::tcgetattr(slave_, &now) != 0 || (now.c_lflag & ISIG) == 0) return 0;
    const auto byte = static_cast<cc_t>(c);
    if (byte == now.c_cc[VINTR]) return SIGINT;
    return byte == now.c_cc[VQUIT] ? SIGQUIT : 0;
  }

  void ToSession(int signal) const {
    std::set<pid_t> groups;
    std::unique_ptr<DIR, int (*)(DIR*)> processes(::opendir("/proc"), ::closedir);
    while (const dirent* entry = processes ? ::readdir(processes.get()) : nullptr) {
      const auto pid = static_cast<pid_t>(std::strtol(entry->d_name, nullptr, 10));
      if (pid > 1 && ::getsid(pid) == session_) groups.insert(::getpgid(pid));
    }
    for (pid_t group : groups)
      if (group > 1) ::kill(-group, signal);
  }

  const int master_;
  const int slave_;
  RelayEnds ends_;
  const pid_t session_;
  bool over_ = false;
  std::string typed_;
  std::string shown_;
};

}  // namespace

Result<pid_t> StartTerminalRelay(const Terminal& terminal, const RelayEnds& ends, pid_t session) {
  const pid_t pid = ::fork();
  if (pid < 0) return SysError(errno, "launch.fork", "cannot fork a terminal's relay");
  if (pid > 0) return pid;
  int fds[] = {
      terminal.master.get(), terminal.slave.get(), ends.in, ends.out, ends.sizes, ends.over};
  for (int& fd : fds) fd = ::fcntl(fd, F_DUPFD_CLOEXEC, kFirst);
  if (!CloseDescriptors(3, static_cast<unsigned>(fds[0]) - 1) ||
      !CloseDescriptors(static_cast<unsigned>(fds[5]) + 1))
    ::_exit(125);
  Relay(fds[0], fds[1], {fds[2], fds[3], fds[4], fds[5]}, session).Run();
  ::_exit(0);
}

}  // namespace writ::backends::launch
