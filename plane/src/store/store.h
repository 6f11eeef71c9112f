// Store: the plane's state in SQLite, shared by threads and processes.
//
// Writes of several threads that come at the same time are committed together: one disk flush for
// all of them (each in a savepoint of its own, so one that fails takes none of the others with it).
// A write that returned success is on disk. Reads run beside writes and see the last commit.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <type_traits>
#include <vector>

#include "store/database.h"
#include "writ/base/result.h"

namespace writ::plane::store {

// The version of the schema that this build writes. An older file is migrated step by step, each
// step a transaction; a newer one is refused ("store.newer").
int SchemaVersion();

class Store {
 public:
  static Result<std::unique_ptr<Store>> Open(const std::string& path);

  // Runs `work` in a transaction; its error rolls back what it did. `work` runs in some thread,
  // alone, and must not call the store.
  Status Write(const std::function<Status(Database&)>& work);

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
  std::mutex readers_mutex_;                        // guards readers_
  std::vector<std::unique_ptr<Database>> readers_;  // idle ones
};

}  // namespace writ::plane::store
