// ProgressLines: how far long transfers of a run in this process are, as lines on a terminal's
// standard error; nothing where that is no terminal.
#pragma once

#include <string>

#include "context.h"
#include "writ/runner/observer.h"

namespace writ::cli {

std::string ProgressText(const runner::Progress& progress);  // "uploading: 12 MiB, 3 files"

class ProgressLines final : public runner::RunObserver {
 public:
  explicit ProgressLines(const Context& context) : context_(context) {}
  void OnStep(const std::string&, runner::Step) override {}
  void OnOutput(const std::string&, std::string_view) override {}
  void OnEnd(const std::string&, const runner::RunEnd&) override {}
  void OnProgress(const std::string& run_id, const runner::Progress& progress) override;

 private:
  const Context& context_;
};

}  // namespace writ::cli
