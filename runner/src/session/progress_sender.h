// ProgressSender: tells a plane with the extension how far a run's long transfers are, for those
// who watch it from afar: lines of JSON in a stream of its own beside the live output.
//
// The newest counts: what a slow plane had no time for is left out, and no transfer waits for it. A
// plane that does not take the stream gets no more of it. Its connection is made with the first
// that there is to tell.
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

#include "session/claim_ticket.h"
#include "writ/runner/config.h"
#include "writ/runner/observer.h"
#include "writ/runner/plane_client.h"

namespace writ::runner {

class ProgressSender {
 public:
  // All are borrowed and outlive it. Made in a thread with the runner's own file system ids.
  ProgressSender(const RunnerConfig& config, const Clock& clock, protocol::RunId run,
                 ClaimTicket& ticket);
  ~ProgressSender();  // gives up what is under way, and joins
  ProgressSender(const ProgressSender&) = delete;
  ProgressSender& operator=(const ProgressSender&) = delete;

  void Show(const Progress& progress);  // from any thread; never waits

 private:
  void Run(std::stop_token stop);
  const RunnerConfig& config_;
  const Clock& clock_;
  protocol::RunId run_;
  ClaimTicket& ticket_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable_any changed_;
  std::optional<Progress> next_;
  std::jthread thread_;  // last: it uses all of the above
};

// The line that stands for it: {"phase":"uploading","bytes":1048576,"files":3} and a newline.
std::string ProgressLine(const Progress& progress);

}  // namespace writ::runner
