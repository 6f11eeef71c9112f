// Progress of a run's long transfers, as lines for people.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "context.h"
#include "writ/runner/observer.h"

namespace writ::cli {

std::string ProgressText(const runner::Progress& progress);  // "uploading: 12 MiB, 3 files"

// Prints what a run's stream of progress brings: each second's newest on a terminal, and every
// tenth second's where standard error is none. What is no such line is left out.
class ProgressLines {
 public:
  explicit ProgressLines(const Context& context);
  void Take(std::string_view bytes);  // as they come, cut anywhere

 private:
  const Context& context_;
  std::chrono::steady_clock::duration pace_;
  std::string rest_;  // of a line that is not whole yet
  std::optional<std::chrono::steady_clock::time_point> last_;
};

}  // namespace writ::cli
