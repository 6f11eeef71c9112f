#include "interrupts.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>

#include "exit_code.h"

namespace writ::cli {
namespace {

std::atomic<int> g_interrupts{0};  // set by the signal handler only
std::atomic<int> g_signal{0};      // the last one; set by the signal handler only
std::atomic<int> g_wake{-1};
std::atomic<bool> g_cancels{false};

extern "C" void TakeInterrupt(int signal) {
  const int saved = errno;
  g_signal = signal;
  if (g_interrupts.fetch_add(1) >= 1) _exit(g_cancels ? int{kRunCancelled} : 128 + signal);
  const std::uint64_t one = 1;
  [[maybe_unused]] ssize_t n = ::write(g_wake, &one, sizeof one);
  errno = saved;
}

}  // namespace

Interrupts::Interrupts() : wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  g_interrupts = 0;
  g_cancels = false;
  g_wake = wake_.get();
  struct sigaction action {};
  action.sa_handler = TakeInterrupt;
  ::sigaction(SIGINT, &action, &old_int_);
  ::sigaction(SIGTERM, &action, &old_term_);
  ::sigaction(SIGHUP, nullptr, &old_hup_);  // nohup's wish is respected
  if (old_hup_.sa_handler != SIG_IGN) ::sigaction(SIGHUP, &action, nullptr);
}

Interrupts::~Interrupts() {
  ::sigaction(SIGINT, &old_int_, nullptr);
  ::sigaction(SIGTERM, &old_term_, nullptr);
  ::sigaction(SIGHUP, &old_hup_, nullptr);
  g_wake = -1;
}

bool Interrupts::Any() const {
  return g_interrupts > 0;
}

int Interrupts::LastSignal() const {
  return g_signal;
}

void Interrupts::LeavingCancels() {
  g_cancels = true;
}

void Interrupts::Pause(std::chrono::milliseconds span) const {
  pollfd entry{wake_.get(), POLLIN, 0};
  if (::poll(&entry, 1, static_cast<int>(span.count())) <= 0) return;
  std::uint64_t count = 0;  // each signal ends one wait
  [[maybe_unused]] ssize_t n = ::read(wake_.get(), &count, sizeof count);
}

}  // namespace writ::cli
