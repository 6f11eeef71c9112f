// Interrupts: Ctrl-C, SIGTERM and a closed terminal, counted while one command waits for a run.
#pragma once

#include <signal.h>

#include <chrono>

#include "writ/base/unique_fd.h"

namespace writ::cli {

// The signals count while it lives; the second one leaves the process at once. One at a time.
class Interrupts {
 public:
  Interrupts();
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  bool Any() const;
  int LastSignal() const;
  // From now on leaving means that the run was cancelled: exit kRunCancelled and not 128 and the
  // signal's number.
  void LeavingCancels();
  // Waits, no longer than until a signal comes.
  void Pause(std::chrono::milliseconds span) const;

 private:
  UniqueFd wake_;  // an eventfd that the handler writes to
  struct sigaction old_int_ {};
  struct sigaction old_term_ {};
  struct sigaction old_hup_ {};
};

}  // namespace writ::cli
