// Processes that multiply, hide from their parents, stop, or outlive whoever started them.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <thread>
#include <vector>

#include "glutton.h"

namespace writ::hostile {
namespace {

void IgnoreWhatCanBeIgnored() {
  for (int signal = 1; signal < 32; ++signal) ::signal(signal, SIG_IGN);
}

// Every child forks too, and goes on when it is refused.
int ForkBomb() {
  IgnoreWhatCanBeIgnored();
  void* shared = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  auto* made = new (shared) std::atomic<int>(0);
  while (*made < EnoughProcesses()) {
    if (::fork() >= 0) ++*made;
  }
  return AwaitTheEnd();
}

int ThreadBomb() {
  std::vector<std::thread> threads;
  try {
    while (threads.size() < static_cast<std::size_t>(EnoughProcesses()))
      threads.emplace_back([] { AwaitTheEnd(); });
  } catch (const std::exception&) {
    AwaitTheEnd();
  }
  std::_Exit(0);
}

// Sessions of their own, forked twice, deaf to signals; the first process leaves at once.
int Daemons() {
  for (int i = 0; i < 20; ++i) {
    if (::fork() != 0) continue;
    ::setsid();
    if (::fork() != 0) ::_exit(0);
    IgnoreWhatCanBeIgnored();
    ::_exit(AwaitTheEnd());
  }
  return 7;
}

// Stopped processes hear no SIGTERM and reap no children.
int StoppedChildren() {
  for (int i = 0; i < 10; ++i) {
    pid_t child = ::fork();
    if (child != 0) continue;
    if (::fork() == 0) ::_exit(AwaitTheEnd());
    ::raise(SIGSTOP);
    ::_exit(AwaitTheEnd());
  }
  return AwaitTheEnd();
}

// Each burns a little and is replaced: no process alone is ever over a limit, and nobody waits for
// any of them. A few at a time: it is to be ended for its CPU time, however many a busy host lets
// wait.
int BurnInManyProcesses() {
  ::signal(SIGCHLD, SIG_IGN);
  for (int i = 0; i < EnoughBurns(); ++i) {
    pid_t child = ::fork();
    if (child == 0) {
      std::atomic<std::uint64_t> n{0};
      while (n.fetch_add(1, std::memory_order_relaxed) < 10'000'000) {
      }
      ::_exit(0);
    }
    // Their signal ignored, this collects nothing: it returns when all of them are gone.
    if (child < 0 || i % 8 == 7) ::wait(nullptr);
  }
  return 0;
}

}  // namespace

const std::vector<Glutton>& ProcessGluttons() {
  static const std::vector<Glutton> gluttons = {
      {"fork-bomb", ForkBomb},
      {"thread-bomb", ThreadBomb},
      {"daemons", Daemons},
      {"stopped-children", StoppedChildren},
      {"burn-in-many-processes", BurnInManyProcesses},
  };
  return gluttons;
}

}  // namespace writ::hostile
