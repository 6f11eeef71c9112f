// LaunchedEntries: what was put beside a job that writ-launch carries, seen from the backend. The
// launcher is told through the job's control socket; its answers come in through the thread that
// watches the job.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "writ/backends/entry.h"
#include "writ/backends/launch/entry_request.h"
#include "writ/backends/launch/messages.h"
#include "writ/base/unique_fd.h"

namespace writ::backends {

// Thread-safe. Shared by the job and its entries, which may outlive it as objects: all they then
// say is that the session has ended.
class LaunchedEntries : public std::enable_shared_from_this<LaunchedEntries> {
 public:
  // Where a terminal's descriptors are: handed out by the launcher, or in a kernel that none
  // leaves, with a relay to pipes.
  enum class Terminals { kHandedOut, kRelayed };
  // From when the job runs until Close. `control` is borrowed for that long.
  void Open(int control, Terminals terminals);
  // The session is over: what has not ended has lost its status.
  void Close();

  Result<std::unique_ptr<Entry>> Enter(const launch::EntryRequest& request);
  // One of the launcher's messages on entries; any other is ignored.
  void OnMessage(const launch::Message& message, std::vector<UniqueFd> fds);

  // What is known of one of them; guarded by the table's mutex.
  struct State {
    bool started = false;
    std::optional<launch::EntryFailedMessage> failed;
    std::optional<EntryEnd> end;
    UniqueFd changed;        // eventfd: readable once it has started or failed
    UniqueFd ended;          // eventfd: readable once `end` is there
    UniqueFd master, slave;  // of its terminal, on their way to the entry
  };
  void Signal(std::uint64_t id, int signal);
  std::optional<EntryEnd> EndOf(const State& state) const;
  void Forget(std::uint64_t id);

 private:
  Terminals terminals() const;
  Result<std::shared_ptr<State>> Begin(const launch::EntryRequest& request, std::vector<int> fds,
                                       std::uint64_t& id);

  mutable std::mutex mutex_;  // guards all below
  int control_ = -1;
  Terminals terminals_ = Terminals::kHandedOut;
  std::uint64_t next_id_ = 1;
  std::map<std::uint64_t, std::shared_ptr<State>> states_;
};

}  // namespace writ::backends
