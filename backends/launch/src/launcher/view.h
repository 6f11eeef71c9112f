// View: applies the steps of a NamespacePlan and enters the root directory that they make.
#pragma once

#include <vector>

#include "writ/backends/launch/view_step.h"
#include "writ/base/result.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::launch {

// In a mount namespace of our own, with its capabilities and the job's ids. `lower_trees`:
// detached, for the overlays of LowerOwner::kRoot in their order. The error's message names the
// step. After it nothing of the host is in reach that no step has put there.
Status EnterView(const std::vector<ViewStep>& steps, std::vector<UniqueFd> lower_trees);

}  // namespace writ::backends::launch
