// View: applies the steps of a NamespacePlan and enters the root directory that they make.
#pragma once

#include <vector>

#include "writ/backends/launch/view_step.h"
#include "writ/base/result.h"

namespace writ::backends::launch {

// In a mount namespace of our own, with its capabilities and the job's ids. The error's message
// names the step. After it nothing of the host is in reach that no step has put there.
Status EnterView(const std::vector<ViewStep>& steps);

}  // namespace writ::backends::launch
