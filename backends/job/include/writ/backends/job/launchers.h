// Launchers: starts writ-launch for jobs, and keeps one ahead of the next job.
//
// Starting a program is much of what a short job costs. One that waits for its job has been given
// nothing and has done nothing (launch/src/launcher/main.cc): no namespace, no descriptor but its
// end of a socket, nothing to be removed after a crash - it leaves when its backend does. Every job
// has a launcher of its own, used once. Thread-safe.
#pragma once

#include <mutex>
#include <optional>
#include <string>

#include "writ/backends/job/launched_options.h"
#include "writ/base/child.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends {

struct WaitingLauncher {
  Child process;
  UniqueFd control;    // our end of its socket
  bool fresh = false;  // started for who asked
};

class Launchers {
 public:
  explicit Launchers(const LaunchedOptions& options)
      : path_(options.launcher), ahead_(options.ahead) {}

  // The one that waits, where it still does; else a new one.
  Result<WaitingLauncher> Take();
  // Starts the next one where there is none; takes as long as starting a program. Where that fails,
  // Take will say so.
  void Prepare();

 private:
  const std::string path_;
  const LaunchedOptions::Ahead ahead_;
  std::mutex mutex_;  // guards the one below
  std::optional<WaitingLauncher> next_;
};

}  // namespace writ::backends
