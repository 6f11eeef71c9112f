// Trees and commits into a requester's object folder, for a branch that nobody has checked out.
#pragma once

#include <string>

#include "repository_files.h"

namespace writ::workspace {

// The tree of a sorted listing, with all trees below it.
Result<ObjectId> WriteTrees(OdbSource& objects, const TreeListing& listing);

Result<ObjectId> WriteCommit(OdbSource& objects, const ObjectId& tree, const ObjectId& parent,
                             std::int64_t time, std::string_view message);

// Makes a ref that is not there yet. kConflict "pull.branch_exists" where it is.
Status CreateRef(const RepositoryFiles& repository, const std::string& name, const ObjectId& id);

}  // namespace writ::workspace
