// RecipeSteps: the RUNs of a recipe as runs of this directory's plane: each has a contract, runs in
// a machine of its own by a runner in this process, and leaves a receipt.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "access.h"
#include "context.h"
#include "writ/backends/microvm/build_stage.h"
#include "writ/backends/microvm/recipe_build.h"
#include "writ/base/result.h"

namespace writ::cli {

struct RecipeStepOptions {
  std::vector<std::string> hosts;  // that a step may reach, through the proxy
  std::string memory;           // of a step's machine, like 2G; empty: that of runs without a limit
  std::string timeout = "30m";  // of each step
};

class RecipeSteps {
 public:
  // kInvalid where an option is none.
  static Status Check(const RecipeStepOptions& options);
  // `context` is borrowed. What is missing in its directory is made when the first step runs.
  RecipeSteps(Context& context, RecipeStepOptions options)
      : context_(context), options_(std::move(options)) {}

  Result<backends::microvm::StepDone> Run(const backends::microvm::StepOrder& order);

 private:
  Status Open();
  Result<std::string> Submit(const backends::microvm::StepOrder& order);
  // Until it is over; its output goes to standard error.
  Status Follow(const std::string& run_id, const std::string& work_dir);
  Result<backends::microvm::StepDone> Collect(const std::string& run_id);

  Context& context_;
  RecipeStepOptions options_;
  Access access_;
  std::unique_ptr<Requester> requester_;
  std::optional<backends::microvm::BuildStage> stage_;  // of the layer that was brought last
};

}  // namespace writ::cli
