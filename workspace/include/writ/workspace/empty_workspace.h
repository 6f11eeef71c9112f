// EmptyWorkspace: what a run starts from that needs no checkout: one commit, the same for
// everybody, with a .gitignore and nothing else. Pure.
#pragma once

#include <string>

#include "writ/base/result.h"
#include "writ/workspace/capture.h"

namespace writ::workspace {

// `ignored`: a line of the .gitignore: what the run leaves there is no change to it.
Result<Captured> EmptyWorkspace(const std::string& ignored);

}  // namespace writ::workspace
