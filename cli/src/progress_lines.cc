#include "progress_lines.h"

#include <unistd.h>

#include "duration.h"

namespace writ::cli {

std::string ProgressText(const runner::Progress& progress) {
  return std::string(runner::PhaseName(progress.phase)) + ": " + FormatBytes(progress.bytes) +
         ", " + std::to_string(progress.files) + (progress.files == 1 ? " file" : " files");
}

void ProgressLines::OnProgress(const std::string&, const runner::Progress& progress) {
  if (::isatty(2) != 0) context_.Note("-- " + ProgressText(progress));
}

}  // namespace writ::cli
