// Whether the commits of a pack are complete.
#pragma once

#include "git_object.h"

namespace writ::workspace {

// `tip` and all its ancestors are there and are commits; "workspace.bundle_incomplete" otherwise.
Status CheckHistory(const ObjectSource& source, const ObjectId& tip);

// Follows annotated tags to what they name, at most a few steps.
Result<GitObject> ReadPeeled(const ObjectSource& source, ObjectId& id);

}  // namespace writ::workspace
