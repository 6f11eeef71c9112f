#include "each.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

namespace writ::hostile {
namespace {

constexpr timespec kBound{60, 0};
constexpr int kSignalled = 128;  // and the signal, as a shell says it
constexpr std::string_view kAtSupervisor = "@supervisor";

[[noreturn]] void Try(const std::string& name, int line, const sigset_t& mask,
                      const std::string& supervisor, int (*attempt)(std::string_view)) {
  std::string_view attack = name;
  ::sigprocmask(SIG_SETMASK, &mask, nullptr);
  ::prctl(PR_SET_NAME, ("try-" + std::to_string(line)).c_str());
  const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (const int fd : {0, 1, 2}) ::dup2(nothing, fd);
  ::close(nothing);
  if (attack.ends_with(kAtSupervisor)) {
    attack.remove_suffix(kAtSupervisor.size());
    ::setenv("VICTIM", supervisor.c_str(), 1);
  }
  ::_exit(attempt(attack));
}

int CodeOf(pid_t child, const sigset_t& ended) {
  int status = 0;
  while (::waitpid(child, &status, WNOHANG) == 0) {
    if (::sigtimedwait(&ended, nullptr, &kBound) < 0 && errno == EAGAIN) ::kill(child, SIGKILL);
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : kSignalled + WTERMSIG(status);
}

}  // namespace

int TryEach(const std::string& file, int (*attempt)(std::string_view name)) {
  std::vector<std::string> names;
  {
    std::ifstream in(file);  // closed before the first attempt: nothing of it is inherited
    if (!in) return 3;
    for (std::string name; std::getline(in, name);) names.push_back(name);
  }
  const std::string supervisor = std::to_string(::getppid());
  sigset_t ended;
  sigset_t mask;
  sigemptyset(&ended);
  sigaddset(&ended, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &ended, &mask);
  int line = 0;
  for (const std::string& name : names) {
    ++line;
    const pid_t child = ::fork();
    if (child == 0) Try(name, line, mask, supervisor, attempt);
    if (child < 0) return 3;
    std::printf("%s %d\n", name.c_str(), CodeOf(child, ended));
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace writ::hostile
