#include "hook_warden.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <string>

#include "writ/backends/linux/process_tree.h"
#include "writ/base/child.h"
#include "writ/base/close_descriptors.h"

namespace writ::backends::launch {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr int kControl = 3;
constexpr std::chrono::seconds kKillLimit{5};
constexpr milliseconds kBetweenPasses{1};

bool Ended(int pidfd) {
  pollfd entry{pidfd, POLLIN, 0};
  return ::poll(&entry, 1, 0) > 0;
}

// Until the hook has ended or nobody wants it any more.
void Watch(const Child& hook) {
  for (;;) {
    pollfd fds[2] = {{hook.pidfd(), POLLIN, 0}, {kControl, POLLIN, 0}};
    if (::poll(fds, 2, -1) < 0 && errno != EINTR) return;
    if (fds[0].revents != 0 || fds[1].revents != 0) return;
  }
}

// The hook itself stays a corpse until it is asked for its status; everything else is reaped here.
// True: nothing lives on.
bool KillTree(pid_t hook, int pidfd) {
  const auto give_up = steady_clock::now() + kKillLimit;
  for (;;) {
    SignalDescendants(SIGKILL);
    bool others = false;
    for (const TreeMember& member : Descendants()) {
      if (member.pid == hook) continue;
      if (::waitpid(member.pid, nullptr, WNOHANG | __WALL) != member.pid) others = true;
    }
    if (!others && Ended(pidfd)) return true;
    if (steady_clock::now() > give_up) return false;
    (void)::poll(nullptr, 0, static_cast<int>(kBetweenPasses.count()));
  }
}

int Tell(const std::string& words) {
  return ::send(kControl, words.data(), words.size(), MSG_NOSIGNAL) ==
                 static_cast<ssize_t>(words.size())
             ? 0
             : 1;
}

}  // namespace

int RunHookWarden(int argc, char** argv) {
  struct stat st {};
  if (argc < 3 || ::fstat(kControl, &st) != 0 || !S_ISSOCK(st.st_mode)) return 2;
  if (!CloseDescriptors(kControl + 1) || !CloseDescriptorsOnExec(kControl, kControl) ||
      !BecomeSubreaper())
    return Tell("start");
  SpawnOptions spawn;
  spawn.path = argv[2];
  spawn.argv.assign(argv + 2, argv + argc);
  for (char** variable = environ; *variable != nullptr; ++variable)
    spawn.env.emplace_back(*variable);
  spawn.fds = {{0, 0}, {1, 1}, {2, 2}};
  Result<Child> hook = Child::Spawn(spawn);
  for (int fd : {0, 1, 2}) ::close(fd);
  if (!hook) return Tell("start");
  Watch(*hook);
  const bool by_itself = Ended(hook->pidfd());
  const bool gone = KillTree(hook->pid(), hook->pidfd());
  Result<std::optional<ExitStatus>> status = hook->Wait(milliseconds(0));
  std::string words = "signal " + std::to_string(SIGKILL);
  if (by_itself && status && *status)
    words = (*status)->signalled ? "signal " + std::to_string((*status)->signal)
                                 : "exit " + std::to_string((*status)->code);
  return Tell(words + (gone ? "" : " left"));
}

}  // namespace writ::backends::launch
