#include "writ/backends/job/launchers.h"

#include <poll.h>

#include <utility>

#include "writ/backends/launch/launch_plan.h"

namespace writ::backends {
namespace {

Result<WaitingLauncher> StartLauncher(const std::string& path) {
  WRIT_ASSIGN(SocketPair control, MakeSeqpacketPair());
  SpawnOptions spawn;
  spawn.path = path;
  spawn.argv = {"writ-launch"};
  spawn.fds = {{control.second.get(), launch::kControlFd}};
  WaitingLauncher out;
  WRIT_ASSIGN(out.process, Child::Spawn(spawn));
  out.control = std::move(control.first);
  return out;
}

bool HasEnded(const Child& process) {
  pollfd fd{process.pidfd(), POLLIN, 0};
  return ::poll(&fd, 1, 0) != 0;
}

}  // namespace

Result<WaitingLauncher> Launchers::Take() {
  std::optional<WaitingLauncher> next;
  {
    std::lock_guard lock(mutex_);
    next = std::exchange(next_, std::nullopt);
  }
  if (next && !HasEnded(next->process)) return std::move(*next);
  auto started = StartLauncher(path_);
  if (started) started->fresh = true;
  return started;
}

void Launchers::Prepare() {
  if (ahead_ == LaunchedOptions::Ahead::kNone) return;
  {
    std::lock_guard lock(mutex_);
    if (next_) return;
  }
  auto started = StartLauncher(path_);
  if (!started) return;
  std::optional<WaitingLauncher> not_needed;  // killed and reaped outside of the lock
  std::lock_guard lock(mutex_);
  if (next_)
    not_needed = std::move(started).value();
  else
    next_ = std::move(started).value();
}

}  // namespace writ::backends
