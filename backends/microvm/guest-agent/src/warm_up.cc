#include "warm_up.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <utility>

namespace writ::backends::microvm {

WarmUpRun::~WarmUpRun() {
  loop_.Remove(output_watch_);
  loop_.Remove(exit_watch_);
}

Status WarmUpRun::Start(const WarmUp& command, std::function<void(const WarmedUp&)> done) {
  WRIT_ASSIGN(Pipe pipe, MakePipe());
  SpawnOptions spawn;
  spawn.path = command.argv.front();
  spawn.argv = command.argv;
  spawn.env = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
               "USER=root", "LANG=C.UTF-8"};
  spawn.fds = {{pipe.write_end.get(), 1}, {pipe.write_end.get(), 2}};
  WRIT_ASSIGN(child_, Child::Spawn(spawn));
  done_ = std::move(done);
  output_ = std::move(pipe.read_end);
  ::fcntl(output_.get(), F_SETFL, O_NONBLOCK);
  output_watch_ = loop_.Add(output_.get(), POLLIN, [this](short) { ReadSome(); });
  exit_watch_ = loop_.Add(child_.pidfd(), POLLIN, [this](short) { OnExit(); });
  return {};
}

// False: nothing is there now.
bool WarmUpRun::ReadSome() {
  std::array<char, 4096> buffer{};
  const ssize_t count = ::read(output_.get(), buffer.data(), buffer.size());
  if (count < 0 && errno == EINTR) return true;
  if (count == 0) loop_.SetEvents(output_watch_, 0);
  if (count <= 0) return false;
  warmed_.output.append(buffer.data(), static_cast<std::size_t>(count));
  if (warmed_.output.size() > kMaxWarmUpOutput)
    warmed_.output.erase(0, warmed_.output.size() - kMaxWarmUpOutput);
  return true;
}

void WarmUpRun::OnExit() {
  auto status = child_.Wait(std::chrono::milliseconds(0));
  if (!status || !*status) return;
  warmed_.status = **status;
  if (::getpid() == 1) {
    ::kill(-1, SIGKILL);
    while (::waitpid(-1, nullptr, __WALL) > 0 || errno == EINTR) continue;
  }
  while (ReadSome()) continue;
  loop_.Remove(output_watch_);
  loop_.Remove(exit_watch_);
  std::exchange(done_, nullptr)(warmed_);  // this may be gone now
}

}  // namespace writ::backends::microvm
