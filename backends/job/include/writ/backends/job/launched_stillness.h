// LaunchedStillness: a launched job's machine on its way to stand still, or to go on: one word over
// the launcher's control socket, one answer, which whoever watches the job hands in.
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>

#include "writ/backends/launch/messages.h"
#include "writ/base/result.h"

namespace writ::backends {

// Thread-safe.
class LaunchedStillness {
 public:
  enum class To { kStill, kRunning };
  // From when the job runs until Close. `control` is borrowed for that long.
  void Open(int control);
  // Whoever waits hears that the job has ended.
  void Close();
  // Until it has happened. kConflict, kUnavailable as Job::Pause.
  Status Turn(To to);
  bool still() const;
  // Any but the answer is ignored.
  void OnMessage(const launch::Message& message);

 private:
  mutable std::mutex mutex_;  // guards all below
  std::condition_variable answered_;
  int control_ = -1;
  bool waiting_ = false;
  bool still_ = false;
  std::optional<launch::StillMessage> answer_;
};

}  // namespace writ::backends
