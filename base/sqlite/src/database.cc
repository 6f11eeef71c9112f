#include "writ/base/sqlite/database.h"

#include <sqlite3.h>
#include <sys/statvfs.h>

#include <cerrno>

namespace writ::sqlite {

namespace {

Error Full() {
  return {.kind = ErrorKind::kUnavailable,
          .code = "store.full",
          .message = "the disk that the store lies on is full",
          .hint = "make room on it; reading needs a little of it too",
          .sys_errno = ENOSPC};
}

// SQLite says "disk I/O error" or "unable to open" where the write-ahead log or its index finds no
// room, and the errno behind it may be that of a later call: then the disk itself is asked. The
// index alone takes 32 KiB.
bool DiskIsFull(sqlite3* db) {
  constexpr std::uint64_t kLeastRoom = 64 * 1024;
  const int code = sqlite3_system_errno(db);
  if (code == ENOSPC || code == EDQUOT) return true;
  const char* file = sqlite3_db_filename(db, "main");
  const std::string path = file != nullptr ? file : "";
  const std::string folder = path.substr(0, path.rfind('/') + 1);
  struct statvfs disk {};
  return !folder.empty() && ::statvfs(folder.c_str(), &disk) == 0 &&
         ((disk.f_blocks > 0 && std::uint64_t{disk.f_bavail} * disk.f_frsize < kLeastRoom) ||
          (disk.f_files > 0 && disk.f_favail == 0));
}

}  // namespace

Query::Query(Query&& other) noexcept : db_(other.db_), statement_(other.statement_) {
  other.statement_ = nullptr;
}

Query::~Query() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
  db_->cache_.emplace(sqlite3_sql(statement_), statement_);
}

Result<bool> Query::Next() {
  switch (sqlite3_step(statement_)) {
    case SQLITE_ROW:
      return true;
    case SQLITE_DONE:
      return false;
    default:
      return db_->LastError("run a statement");
  }
}

std::int64_t Query::Int(int column) const {
  return sqlite3_column_int64(statement_, column);
}

std::string Query::Text(int column) const {
  const void* bytes = sqlite3_column_blob(statement_, column);
  int size = sqlite3_column_bytes(statement_, column);
  if (bytes == nullptr || size <= 0) return {};
  return std::string(static_cast<const char*>(bytes), static_cast<std::size_t>(size));
}

bool Query::Null(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

std::optional<std::string> Query::OptionalText(int column) const {
  if (Null(column)) return std::nullopt;
  return Text(column);
}

std::optional<std::int64_t> Query::OptionalInt(int column) const {
  if (Null(column)) return std::nullopt;
  return Int(column);
}

Result<std::unique_ptr<Database>> Database::Open(const std::string& path, Mode mode) {
  sqlite3* raw = nullptr;
  int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_EXRESCODE;
  // A reader of a WAL database must be able to write its shared-memory file: query_only below is
  // what makes it a reader.
  flags |=
      mode == Mode::kReadWrite ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READWRITE;
  int status = sqlite3_open_v2(path.c_str(), &raw, flags, nullptr);
  auto db = std::unique_ptr<Database>(new Database(raw));
  if (status != SQLITE_OK) return db->LastError("open the database");
  sqlite3_busy_timeout(raw, 10'000);
  sqlite3_db_config(raw, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  WRIT_TRY(db->Exec("PRAGMA trusted_schema=OFF"));
  WRIT_TRY(db->Exec("PRAGMA foreign_keys=ON"));
  if (mode == Mode::kReadWrite) WRIT_TRY(db->Exec("PRAGMA journal_mode=WAL"));
  WRIT_TRY(db->Exec("PRAGMA synchronous=FULL"));
  if (mode == Mode::kReadOnly) WRIT_TRY(db->Exec("PRAGMA query_only=ON"));
  return db;
}

Database::~Database() {
  for (auto& [sql, statement] : cache_) sqlite3_finalize(statement);
  sqlite3_close_v2(db_);
}

Status Database::Exec(const char* sql) {
  if (sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) != SQLITE_OK)
    return LastError("run a statement");
  return {};
}

Result<Query> Database::Prepare(const char* sql) {
  auto found = cache_.find(sql);
  if (found != cache_.end()) {
    sqlite3_stmt* statement = found->second;
    cache_.erase(found);
    return Query(*this, statement);
  }
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v3(db_, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr) !=
      SQLITE_OK) {
    return LastError("prepare a statement");
  }
  return Query(*this, statement);
}

int Database::Changes() const {
  return sqlite3_changes(db_);
}

void Database::BindOne(Query& q, int i, std::int64_t v) {
  sqlite3_bind_int64(q.statement_, i, v);
}
void Database::BindOne(Query& q, int i, std::string_view v) {
  sqlite3_bind_text64(q.statement_, i, v.data() == nullptr ? "" : v.data(), v.size(),
                      SQLITE_TRANSIENT, SQLITE_UTF8);
}
void Database::BindOne(Query& q, int i, BlobValue v) {
  sqlite3_bind_blob64(q.statement_, i, v.bytes.data() == nullptr ? "" : v.bytes.data(),
                      v.bytes.size(), SQLITE_TRANSIENT);
}
void Database::BindOne(Query& q, int i, std::nullptr_t) {
  sqlite3_bind_null(q.statement_, i);
}

Error Database::LastError(const char* what) const {
  int code = db_ == nullptr ? SQLITE_NOMEM : sqlite3_extended_errcode(db_);
  std::string text = std::string("the store could not ") + what + ": " +
                     (db_ == nullptr ? "out of memory" : sqlite3_errmsg(db_));
  switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return {.kind = ErrorKind::kUnavailable, .code = "store.busy", .message = std::move(text)};
    case SQLITE_FULL:
      return Full();
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
      if (DiskIsFull(db_)) return Full();
      [[fallthrough]];
    case SQLITE_READONLY:
      return {.kind = ErrorKind::kUnavailable,
              .code = "store.unreachable",
              .message = std::move(text),
              .hint = "look at its disk and its permissions"};
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return {.kind = ErrorKind::kIntegrity, .code = "store.damaged", .message = std::move(text)};
    default:
      return {.kind = ErrorKind::kInternal, .code = "store.sqlite", .message = std::move(text)};
  }
}

}  // namespace writ::sqlite
