// Rows of the journal's database as values: what FindOpen and the readers of receipts share.
#pragma once

#include "writ/base/sqlite/database.h"
#include "writ/runner/journal.h"

namespace writ::runner {

// A run with all its notes. kIntegrity "journal.damaged" where a row does not read back.
Result<OpenRun> ReadRun(sqlite::Database& db, std::int64_t ord);

// Runs of which something is left.
Result<std::vector<JobPlace>> ReadLeft(sqlite::Database& db);

// "warrant.bundle.v1"; the run has a receipt.
json::Value BundleOf(const OpenRun& run);

}  // namespace writ::runner
