// EntryTable: what was put beside a running job, seen from the supervisor - forked by itself, or by
// the init of the job's namespaces. Each goes through the same set-up as the job, and its connects
// are supervised as the job's are.
#pragma once

#include <poll.h>
#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "connect_supervision.h"
#include "entry_forks.h"
#include "writ/backends/launch/launch_plan.h"
#include "writ/backends/launch/messages.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::launch {

// At once; more are refused (EAGAIN).
inline constexpr std::size_t kMaxEntries = 16;

class EntryTable {
 public:
  // To the backend; descriptors are borrowed.
  using Tell = std::function<void(const Message&, const std::vector<int>& fds)>;
  // Makes the supervision of one notification descriptor.
  using Supervise = std::function<std::unique_ptr<ConnectSupervision>(UniqueFd listener)>;
  // `plan` outlives it.
  EntryTable(const LaunchPlan& plan, Tell tell, Supervise supervise)
      : plan_(plan), tell_(std::move(tell)), supervise_(std::move(supervise)), forks_(plan) {}

  // `ruleset`: the job's, or -1. `init`: the socket of the namespaces' init, or -1.
  void Enter(std::uint64_t id, std::vector<UniqueFd> fds, int ruleset, int init);
  void Signal(const SignalEntryMessage& message, int init);
  // A child that the supervisor has reaped, and init's word on one of its own (kEntryEnded).
  void OnReaped(pid_t pid, int status);
  void OnInitWord(const std::string& text);

  void AddPollFds(std::vector<pollfd>& fds) const;
  void OnPoll(const pollfd* fds, std::size_t count);
  std::uint64_t refused_total() const;
  std::uint64_t proxied_total() const;

 private:
  struct Entry {
    UniqueFd report;  // until it runs
    UniqueFd master, slave;
    std::optional<EntryFailedMessage> failed;
  };
  void ReadReports(std::uint64_t id, Entry& entry);
  void Ended(std::uint64_t id, int status);

  const LaunchPlan& plan_;
  Tell tell_;
  Supervise supervise_;
  EntryForks forks_;
  std::map<std::uint64_t, Entry> entries_;  // those that have not ended
  // Longer than the entries: what one leaves behind goes on connecting.
  std::vector<std::unique_ptr<ConnectSupervision>> connects_;
};

// The errno and the stage of a kFailureReport.
std::pair<int, std::string> ReadFailureReport(const std::string& text);

}  // namespace writ::backends::launch
