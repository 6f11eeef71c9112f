// FaultServer: answers one clone's faults, until it is told to stop, the VMM is gone, or it meets
// what it cannot answer. Then it answers nothing any more and keeps the descriptor: a fault stays
// unanswered, and no page turns into zeros, until whoever owns the VM has killed it and lets this
// value go.
//
// Order of service: events and faults as they are read (L32), faults that were put off, then one
// piece of the prefetch; so a fault waits for one copy of at most 256 KiB.
// Events: REMOVE and UNMAP make pages zero; FORK and REMAP fail the clone (no VMM does either with
// its guest's memory, and a copy of it would have to be served as well).
// Thread: one, the clone's own (clone_thread.h).
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <vector>

#include "counter_cell.h"
#include "guest_memory.h"
#include "writ/backends/microvm/pages/serving.h"
#include "writ/backends/microvm/pages/working_set.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

struct uffd_msg;

namespace writ::backends::microvm::pages {

// What one restore has shown, told once: when the time to observe is over, or at the end.
struct Observation {
  bool recorded = false;
  std::vector<std::uint32_t> pages;  // that faulted, with what was placed for them, in order
  std::uint64_t sampled = 0;         // leaves
  std::uint64_t touched = 0;
};

// When to leave, as another thread says it.
struct StopSign {
  std::atomic<bool> said{false};
  UniqueFd wake;  // eventfd, readable from then on
  // Not that: the machine runs, and what it touches is to be watched. Its faults wake us.
  std::atomic<bool> goes_on{true};
};

// What the snapshot asks of one clone.
struct RestorePlan {
  std::vector<WorkingSet::Piece> prefetch;
  bool record = false;
};

class FaultServer {
 public:
  // `spinning` counts the threads of this server that spin. `observed` is called once.
  FaultServer(UniqueFd uffd, GuestRegions regions, VerifiedMemory& memory, RestorePlan plan,
              const ServingOptions& options, std::atomic<unsigned>& spinning,
              CounterCells& counters, const StopSign& stop,
              std::function<void(Observation)> observed);

  // No error: told to stop, or the VMM is gone. A read can block all the same (the VMM can switch
  // its descriptor to that): interrupt it by a signal.
  Status Serve();

 private:
  using Clock = std::chrono::steady_clock;
  struct Waiting {
    std::uint64_t address;
    Clock::time_point since;
  };

  Status Loop();
  Result<bool> ReadMessages();  // whether there were any
  Status Take(const uffd_msg& message, Clock::time_point now);
  Status Answer(const Waiting& fault);
  bool PlacesLeaves() const;
  Status PlaceRestOfLeaf(std::uint64_t page);
  Status AnswerPutOff();
  Status PrefetchPiece();
  void LeaveSomeOut();
  void Note(std::uint64_t page, bool was_spent);
  void Observe(Clock::time_point now);
  Status Sleep();
  bool MaySpin(Clock::time_point now);

  const ServingOptions options_;
  CounterCells& counters_;
  GuestMemory memory_;
  const RestorePlan plan_;
  std::size_t next_piece_ = 0;
  std::atomic<unsigned>& spinning_;
  bool spins_ = false;  // this thread is counted in spinning_
  const StopSign& stop_;
  const std::function<void(Observation)> observed_call_;

  std::deque<Waiting> put_off_;
  std::uint64_t around_;
  std::uint64_t follows_ = ~0ull;  // the page whose fault would follow the last answer
  Clock::time_point spin_until_{};
  Clock::time_point observed_at_{};
  bool observed_ = false;
  Observation observation_;
  bool vmm_gone_ = false;
  unsigned reopened_ = 0;
  std::vector<UniqueFd> forked_;  // closed, they would give a new process zeros
};

}  // namespace writ::backends::microvm::pages
