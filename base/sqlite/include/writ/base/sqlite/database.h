// Database: one SQLite connection, its prepared statements, and typed rows.
//
// Knows SQLite, knows nothing of what is kept in it. Not thread-safe: one owner at a time.
// Errors: kUnavailable "store.busy" where another process holds the lock for too long, "store.full"
// (ENOSPC) where its disk has no room, "store.unreachable" where it cannot be used for another
// reason; kIntegrity "store.damaged" for no database of ours, kInternal "store.sqlite" else.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "writ/base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace writ::sqlite {

class Database;

// One execution of a statement. Goes back to the connection's cache when it is destroyed.
class Query {
 public:
  Query(Query&& other) noexcept;
  Query& operator=(Query&&) = delete;
  ~Query();

  // To the next row; false when there is none.
  Result<bool> Next();
  std::int64_t Int(int column) const;
  std::string Text(int column) const;  // text or blob, as bytes
  bool Null(int column) const;
  std::optional<std::string> OptionalText(int column) const;
  std::optional<std::int64_t> OptionalInt(int column) const;

 private:
  friend class Database;
  Query(Database& db, sqlite3_stmt* statement) : db_(&db), statement_(statement) {}
  Database* db_;
  sqlite3_stmt* statement_;
};

struct BlobValue {  // bound as BLOB
  std::string_view bytes;
};

class Database {
 public:
  enum class Mode { kReadWrite, kReadOnly };
  // WAL, synchronous=FULL, foreign keys on, a busy time-out of ten seconds, trusted_schema off.
  static Result<std::unique_ptr<Database>> Open(const std::string& path, Mode mode);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  Status Exec(const char* sql);

  template <typename... Args>
  Result<Query> Ask(const char* sql, const Args&... args) {
    WRIT_ASSIGN(Query query, Prepare(sql));
    int index = 0;
    (BindOne(query, ++index, args), ...);
    return query;
  }
  // Runs a statement to its end; the number of rows changed.
  template <typename... Args>
  Result<int> Run(const char* sql, const Args&... args) {
    WRIT_ASSIGN(Query query, Ask(sql, args...));
    for (;;) {
      WRIT_ASSIGN(bool row, query.Next());
      if (!row) return Changes();
    }
  }
  // The same where it does not matter how many rows that are.
  template <typename... Args>
  Status Do(const char* sql, const Args&... args) {
    if (Result<int> done = Run(sql, args...); !done) return std::move(done).error();
    return {};
  }
  // The first column of the first row as a number; nullopt without a row.
  template <typename... Args>
  Result<std::optional<std::int64_t>> Number(const char* sql, const Args&... args) {
    WRIT_ASSIGN(Query query, Ask(sql, args...));
    WRIT_ASSIGN(bool row, query.Next());
    if (!row) return std::optional<std::int64_t>{};
    return query.OptionalInt(0);
  }
  template <typename... Args>
  Result<std::optional<std::string>> Value(const char* sql, const Args&... args) {
    WRIT_ASSIGN(Query query, Ask(sql, args...));
    WRIT_ASSIGN(bool row, query.Next());
    if (!row) return std::optional<std::string>{};
    return query.OptionalText(0);
  }

  Error LastError(const char* what) const;

 private:
  friend class Query;
  explicit Database(sqlite3* db) : db_(db) {}
  Result<Query> Prepare(const char* sql);
  int Changes() const;

  static void BindOne(Query& q, int i, std::int64_t v);
  static void BindOne(Query& q, int i, int v) { BindOne(q, i, static_cast<std::int64_t>(v)); }
  static void BindOne(Query& q, int i, std::size_t v) {
    BindOne(q, i, static_cast<std::int64_t>(v));
  }
  static void BindOne(Query& q, int i, std::string_view v);
  static void BindOne(Query& q, int i, const std::string& v) { BindOne(q, i, std::string_view(v)); }
  static void BindOne(Query& q, int i, const char* v) { BindOne(q, i, std::string_view(v)); }
  static void BindOne(Query& q, int i, BlobValue v);
  static void BindOne(Query& q, int i, std::nullptr_t);
  template <typename T>
  static void BindOne(Query& q, int i, const std::optional<T>& v) {
    if (v) {
      BindOne(q, i, *v);
    } else {
      BindOne(q, i, nullptr);
    }
  }

  sqlite3* db_;
  std::unordered_multimap<std::string, sqlite3_stmt*> cache_;  // idle statements by their text
};

}  // namespace writ::sqlite
