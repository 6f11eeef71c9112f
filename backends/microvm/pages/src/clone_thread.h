// CloneThread: one clone's own thread, from the handshake to the end. All that a VMM sends is read
// here, so that none makes another wait.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "counter_cell.h"
#include "fault_server.h"
#include "handshake.h"
#include "writ/backends/microvm/pages/words.h"
#include "writ/base/result.h"

namespace writ::backends::microvm::pages {

class CloneThread {
 public:
  // All called in the clone's thread. `ended` is the last one: kCancelled where Stop was called
  // before a VMM came; no error where it is gone or Stop was called.
  struct Events {
    std::function<RestorePlan()> plan;
    std::function<void(Attached, UniqueFd pidfd)> attached;
    std::function<void(Observation)> observed;
    std::function<void(Status)> ended;
  };

  CloneThread(VerifiedMemory& memory, const ServingOptions& options,
              std::atomic<unsigned>& spinning, Events events);
  CloneThread(const CloneThread&) = delete;
  CloneThread& operator=(const CloneThread&) = delete;
  // Waits for the thread: to be let go after `ended` only. Closes the VMM's descriptor.
  ~CloneThread() = default;

  // `socket` has passed PrepareSocket.
  Status Start(const Serve& serve, UniqueFd socket, uid_t uid);
  // From another thread, any number of times; returns at once. A thread that sits in a call is
  // interrupted, but may just be before it: call again until `ended`.
  void Stop();
  // Its machine, which waited, goes on: from another thread.
  void GoOn() { stop_.goes_on.store(true, std::memory_order_relaxed); }
  FaultCounters ReadCounters() const { return counters_.Read(); }

 private:
  Status Run(const Serve& serve, UniqueFd socket, uid_t uid);

  VerifiedMemory& memory_;
  const ServingOptions options_;
  std::atomic<unsigned>& spinning_;
  const Events events_;
  StopSign stop_;
  CounterCells counters_;
  std::unique_ptr<FaultServer> server_;
  std::jthread thread_;
};

// Makes the signal that Stop interrupts with harmless. Once, before any Start.
Status PrepareThreads();

}  // namespace writ::backends::microvm::pages
