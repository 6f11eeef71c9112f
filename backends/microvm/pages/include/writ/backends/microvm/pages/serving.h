// How faults are served: what is set for a page server as a whole.
//
// One thread for each clone. A placement can wait for the disk and for the memory lock of the VMM,
// which a hostile one can hold for as long as it likes: with a thread of its own a clone only ever
// waits for itself, and the kernel's scheduler is the fairness between clones. An event loop over
// all of them would have needed a thread pool for just that. Placement: a thread that blocks is
// woken on an idle CPU of the kernel's choice, which costs more than the service itself (README.md
// has the figures). Three ways out, in the order of their gain: the owner holds the VMM's CPU
// thread on one CPU and names it (Serve::cpu); else, for `spin` after an answer, the thread looks
// for the next fault without sleeping, where a CPU is free for that
// (`spinners`, at most one less than the CPUs); else it sleeps.
#pragma once

#include <chrono>
#include <cstdint>

namespace writ::backends::microvm::pages {

struct ServingOptions {
  std::chrono::microseconds spin{60};
  unsigned spinners = 0;  // of all threads of this server; 0: none spins
  // Pages placed for a fault at most: the next ones of the same 64 KiB leaf, and past it where they
  // are verified. Begins with `around`, doubles while faults follow each other; 1 means the
  // faulting page alone.
  std::uint64_t around = 4;
  std::uint64_t around_most = 64;
  // From the attachment on: how long faults are recorded, and what of the prefetch was used.
  std::chrono::milliseconds observe{3000};
  std::uint64_t clones = 1024;  // at once
};

}  // namespace writ::backends::microvm::pages
