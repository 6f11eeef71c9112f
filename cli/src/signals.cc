#include "signals.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

namespace writ::cli {

Result<StopSignals> StopSignals::Block() {
  sigset_t set;
  sigemptyset(&set);
  for (int signal : {SIGTERM, SIGINT, SIGQUIT, SIGHUP}) sigaddset(&set, signal);
  if (int err = ::pthread_sigmask(SIG_BLOCK, &set, nullptr); err != 0)
    return SysError(err, "cli.signals_failed", "cannot block signals");
  UniqueFd fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) return SysError(errno, "cli.signals_failed", "cannot receive signals");
  return StopSignals(std::move(fd));
}

int StopSignals::Wait(int timeout_ms, int other_fd) {
  for (;;) {
    pollfd entries[] = {{fd_.get(), POLLIN, 0}, {other_fd, POLLIN, 0}};
    const int ready = ::poll(entries, other_fd < 0 ? 1 : 2, timeout_ms);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return 0;
    signalfd_siginfo info{};
    if (::read(fd_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info))
      return static_cast<int>(info.ssi_signo);
    if (entries[1].revents != 0) return 0;
  }
}

Status UntilStopped(StopSignals& signals, const std::function<void(std::stop_token)>& work) {
  WRIT_ASSIGN(Pipe over, MakePipe());
  std::stop_source stop;
  std::jthread waiting([&] {
    for (int signal; (signal = signals.Wait(-1, over.read_end.get())) != 0;)
      if (signal != SIGHUP) stop.request_stop();
  });
  work(stop.get_token());
  over.write_end.reset();
  return {};
}

}  // namespace writ::cli
