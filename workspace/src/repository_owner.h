// Whose a checkout is. git refuses to work in another user's, because its configuration names
// programs; nothing of it is run here, but it says what is captured, and as whom.
#pragma once

#include <optional>

#include "repository_files.h"
#include "writ/workspace/finding.h"

namespace writ::workspace {

// Refuses a checkout of another user (workspace.other_owner), unless safe.directory of the reader's
// own or the system's git configuration names it. Root, who acts for others, gets a finding
// instead.
Result<std::optional<Finding>> CheckOwner(const RepositoryFiles& repository);

}  // namespace writ::workspace
