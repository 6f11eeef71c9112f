// LaunchedBackend: the Backend of a tier that writ-launch carries.
#pragma once

#include <memory>

#include "writ/backends/backend.h"
#include "writ/backends/job/launched_options.h"
#include "writ/backends/job/launched_tier.h"

namespace writ::backends {

std::unique_ptr<Backend> MakeLaunchedBackend(std::unique_ptr<LaunchedTier> tier,
                                             LaunchedOptions options);

}  // namespace writ::backends
