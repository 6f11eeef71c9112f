#include "writ/base/sqlite/store.h"

#include <sys/stat.h>

namespace writ::sqlite {
namespace {

constexpr std::size_t kBatch = 64;
constexpr std::size_t kIdleReaders = 8;

Status Migrate(Database& db, std::span<const char* const> migrations) {
  const auto known = static_cast<int>(migrations.size());
  WRIT_TRY(db.Exec("BEGIN IMMEDIATE"));
  WRIT_ASSIGN(auto found, db.Number("PRAGMA user_version"));
  auto version = static_cast<int>(found.value_or(0));
  if (version > known) {
    (void)db.Exec("ROLLBACK");
    return Error{.kind = ErrorKind::kUnsupported,
                 .code = "store.newer",
                 .message = "the state has schema version " + std::to_string(version) +
                            ", this build knows up to " + std::to_string(known),
                 .hint = "use the newer writ that wrote it"};
  }
  for (; version < known; ++version) {
    // user_version is part of the database file, so it moves with the transaction.
    auto step = db.Exec(migrations[static_cast<std::size_t>(version)]);
    if (step) {
      step = db.Exec(("PRAGMA user_version=" + std::to_string(version + 1)).c_str());
    }
    if (!step) {
      (void)db.Exec("ROLLBACK");
      return std::move(step).error().With("migrating to schema version " +
                                          std::to_string(version + 1));
    }
  }
  return db.Exec("COMMIT");
}

}  // namespace

Result<std::unique_ptr<Store>> Store::Open(const std::string& path,
                                           std::span<const char* const> migrations) {
  auto store = std::unique_ptr<Store>(new Store(path));
  WRIT_ASSIGN(store->writer_, Database::Open(path, Database::Mode::kReadWrite));
  if (chmod(path.c_str(), 0600) != 0) {
    return SysError(errno, "store.unreachable", "cannot restrict the state file to its owner");
  }
  WRIT_TRY(Migrate(*store->writer_, migrations));
  return store;
}

Status Store::Write(const std::function<Status(Database&)>& work, Durability durability) {
  Job job{.work = &work, .durability = durability, .result = {}};
  std::unique_lock lock(mutex_);
  queue_.push_back(&job);
  while (!job.done) {
    if (leading_) {
      turn_.wait(lock);
      continue;
    }
    leading_ = true;
    std::vector<Job*> batch;
    while (!queue_.empty() && batch.size() < kBatch) {
      batch.push_back(queue_.front());
      queue_.pop_front();
    }
    lock.unlock();
    RunBatch(batch);
    lock.lock();
    for (Job* done : batch) done->done = true;
    leading_ = false;
    turn_.notify_all();
  }
  return std::move(job.result);
}

void Store::RunBatch(const std::vector<Job*>& batch) {
  auto fail_all = [&batch](const Error& error) {
    for (Job* job : batch) {
      if (job->result) job->result = error;
    }
  };
  auto wanted = Durability::kOutlivesProcess;
  for (const Job* job : batch)
    if (job->durability == Durability::kOnDisk) wanted = Durability::kOnDisk;
  if (wanted != level_) {
    // FULL flushes the write-ahead log at each commit, NORMAL only before it is copied back.
    auto set = writer_->Exec(wanted == Durability::kOnDisk ? "PRAGMA synchronous=FULL"
                                                           : "PRAGMA synchronous=NORMAL");
    if (!set) return fail_all(set.error());
    level_ = wanted;
  }
  if (auto begun = writer_->Exec("BEGIN IMMEDIATE"); !begun) return fail_all(begun.error());
  if (batch.size() == 1) {
    Job& job = *batch.front();
    job.result = (*job.work)(*writer_);
    if (!job.result) {
      (void)writer_->Exec("ROLLBACK");
      return;
    }
    if (auto committed = writer_->Exec("COMMIT"); !committed) {
      (void)writer_->Exec("ROLLBACK");
      job.result = std::move(committed);
    }
    return;
  }
  for (Job* job : batch) {
    auto status = writer_->Exec("SAVEPOINT job");
    if (status) {
      status = (*job->work)(*writer_);
      if (!status) {
        if (auto undone = writer_->Exec("ROLLBACK TO job"); !undone) status = std::move(undone);
      }
      if (auto released = writer_->Exec("RELEASE job"); !released && status) {
        status = std::move(released);
      }
    }
    job->result = std::move(status);
  }
  if (auto committed = writer_->Exec("COMMIT"); !committed) {
    (void)writer_->Exec("ROLLBACK");
    fail_all(committed.error());
  }
}

Result<std::unique_ptr<Database>> Store::Borrow() {
  {
    std::lock_guard lock(readers_mutex_);
    if (!readers_.empty()) {
      auto db = std::move(readers_.back());
      readers_.pop_back();
      return db;
    }
  }
  return Database::Open(path_, Database::Mode::kReadOnly);
}

void Store::Return(std::unique_ptr<Database> db) {
  std::lock_guard lock(readers_mutex_);
  if (readers_.size() < kIdleReaders) readers_.push_back(std::move(db));
}

}  // namespace writ::sqlite
