// Store: one SQLite database with a schema of ours, shared by threads and processes.
//
// Writes of several threads that come at the same time are committed together: one disk flush for
// all of them (each in a savepoint of its own, so one that fails takes none of the others with it).
// A write that returned success is on disk, or - where that was asked for - outlives the process
// and is on disk with the next write that must be. Reads run beside writes and see the last commit.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "writ/base/result.h"
#include "writ/base/sqlite/database.h"

namespace writ::sqlite {

// What a write that has returned survives. kOutlivesProcess: any kill; a power cut may take it,
// never out of order (the write-ahead log is cut at its end).
enum class Durability { kOnDisk, kOutlivesProcess };

class Store {
 public:
  // `migrations`: the schema as the list of steps that made it; the file's user_version counts
  // those it has seen. An older file is brought up to date in one transaction, a newer one is
  // refused and left alone ("store.newer"). The file is 0600.
  static Result<std::unique_ptr<Store>> Open(const std::string& path,
                                             std::span<const char* const> migrations);

  // Runs `work` in a transaction; its error rolls back what it did. `work` runs in some thread,
  // alone, and must not call the store.
  Status Write(const std::function<Status(Database&)>& work,
               Durability durability = Durability::kOnDisk);

  // Runs `work` (Database& -> Result<T>) on one consistent state of the database.
  template <typename Work>
  auto Read(Work&& work) -> std::invoke_result_t<Work, Database&> {
    auto db = Borrow();
    if (!db) return std::move(db).error();
    if (auto begun = (*db)->Exec("BEGIN"); !begun) return std::move(begun).error();
    auto result = work(**db);
    auto ended = (*db)->Exec("COMMIT");
    if (ended) Return(std::move(*db));  // else the connection is dropped
    return result;
  }

 private:
  struct Job {
    const std::function<Status(Database&)>* work;
    Durability durability;
    Status result;
    bool done = false;
  };
  explicit Store(std::string path) : path_(std::move(path)) {}
  void RunBatch(const std::vector<Job*>& batch);
  Result<std::unique_ptr<Database>> Borrow();
  void Return(std::unique_ptr<Database> db);

  const std::string path_;
  std::mutex mutex_;  // guards queue_ and leading_
  std::condition_variable turn_;
  std::deque<Job*> queue_;
  bool leading_ = false;                            // one thread runs a batch
  std::unique_ptr<Database> writer_;                // used by the leading thread only
  Durability level_ = Durability::kOnDisk;          // of writer_; the leading thread's too
  std::mutex readers_mutex_;                        // guards readers_
  std::vector<std::unique_ptr<Database>> readers_;  // idle ones
};

}  // namespace writ::sqlite
