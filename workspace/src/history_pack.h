// A pack of a commit and all that it reaches.
//
// Objects that lie in the repository's packs are copied as they lie there, deltas included; loose
// ones are deflated whole. Nothing is compressed anew, so the cost is that of reading the trees and
// copying the bytes. The order is that of the walk: one repository state gives one sequence of
// bytes.
#pragma once

#include <functional>
#include <string_view>

#include "repository_files.h"
#include "writ/workspace/capture.h"

namespace writ::workspace {

// "workspace.history_incomplete" where an object is missing or damaged. Returns how many commits.
Result<std::size_t> WriteHistoryPack(const RepositoryFiles& repository, const OdbSource& objects,
                                     const std::function<Status(std::string_view)>& sink,
                                     const CaptureProgress& progress);

}  // namespace writ::workspace
