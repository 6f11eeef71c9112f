// What `writ runner receipts` reads, beside a runner that works.
#include <unistd.h>

#include "journal/rows.h"
#include "journal/schema.h"

namespace writ::runner {
namespace {

using sqlite::Database;

// nullptr: there is no journal.
Result<std::unique_ptr<Database>> OpenToRead(const std::string& state_dir) {
  const std::string path = state_dir + "/journal/journal.db";
  if (access(path.c_str(), F_OK) != 0) return std::unique_ptr<Database>();
  WRIT_ASSIGN(std::unique_ptr<Database> db, Database::Open(path, Database::Mode::kReadOnly));
  WRIT_ASSIGN(auto version, db->Number("PRAGMA user_version"));
  if (version != static_cast<std::int64_t>(kJournalMigrations.size()))
    return Error{.kind = ErrorKind::kUnsupported,
                 .code = "journal.other_version",
                 .message = "the journal was written by another version of writ",
                 .hint = "use the writ that the runner uses"};
  return db;
}

}  // namespace

Result<std::vector<KeptReceipt>> ListKeptReceipts(const std::string& state_dir) {
  std::vector<KeptReceipt> out;
  WRIT_ASSIGN(std::unique_ptr<Database> db, OpenToRead(state_dir));
  if (!db) return out;
  WRIT_ASSIGN(
      auto row,
      db->Ask("SELECT r.run_id, 0, p.waiting_since, c.body ->> 'status', p.why_code, p.why, '' "
              "FROM runs r JOIN progress p USING (ord) JOIN receipts c USING (ord) "
              "WHERE p.state = 'waiting' UNION ALL "
              "SELECT run_id, 1, at, status, code, why, late FROM parked ORDER BY 3, 1"));
  for (;;) {
    WRIT_ASSIGN(bool any, row.Next());
    if (!any) return out;
    auto run_id = protocol::RunId::Parse(row.Text(0));
    if (!run_id) continue;
    out.push_back(KeptReceipt{*run_id, row.Int(1) != 0, WallTime{row.Int(2)}, row.Text(3),
                              row.Text(4), row.Text(5), row.Text(6)});
  }
}

Result<json::Value> ReadKeptBundle(const std::string& state_dir, const protocol::RunId& run) {
  WRIT_ASSIGN(std::unique_ptr<Database> db, OpenToRead(state_dir));
  const Error unknown{.kind = ErrorKind::kNotFound,
                      .code = "receipts.unknown_run",
                      .message = "this runner keeps no receipt of that run",
                      .hint = "`writ runner receipts list` names those that it keeps"};
  if (!db) return unknown;
  WRIT_ASSIGN(auto parked, db->Value("SELECT bundle FROM parked WHERE run_id = ?", run.text()));
  if (parked) return json::Parse(*parked);
  WRIT_TRY(db->Exec("BEGIN"));  // one state for all the rows of the run
  WRIT_ASSIGN(auto ord, db->Number("SELECT ord FROM runs WHERE run_id = ?", run.text()));
  if (!ord) return unknown;
  WRIT_ASSIGN(OpenRun open, ReadRun(*db, *ord));
  if (!open.receipt) return unknown;
  return BundleOf(open);
}

}  // namespace writ::runner
