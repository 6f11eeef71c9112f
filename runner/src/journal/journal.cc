#include "writ/runner/journal.h"

#include <fcntl.h>
#include <stdio.h>

#include <mutex>

#include "journal/rows.h"
#include "journal/schema.h"
#include "writ/base/fault.h"
#include "writ/base/log.h"
#include "writ/base/paths.h"
#include "writ/base/sqlite/store.h"

namespace writ::runner {
namespace {

using sqlite::Database;
using sqlite::Durability;
using sqlite::Store;

constexpr char kFileName[] = "journal.db";

// The fault points around one sort of write.
struct Points {
  std::size_t before, after;
};
#define WRIT_JOURNAL_POINTS(note)                                                   \
  Points {                                                                          \
    fault::Index("journal." note ".before"), fault::Index("journal." note ".after") \
  }

// The store's errors, under the journal's name.
Error Named(Error error) {
  if (error.code.starts_with("store.")) error.code.replace(0, 5, "journal");
  return error;
}

Status WriteNote(Store& store, [[maybe_unused]] Points points, Durability durability,
                 const std::function<Status(Database&)>& work) {
  WRIT_FAULT_AT_TRY(points.before);
  if (Status written = store.Write(work, durability); !written)
    return Named(std::move(written).error());
  WRIT_FAULT_AT_TRY(points.after);
  return {};
}

Status InsertEvents(Database& db, std::int64_t ord, std::span<const protocol::Event> events) {
  for (const protocol::Event& event : events) {
    // A note that failed half-way is repeated with what came since.
    WRIT_TRY(db.Do("INSERT OR REPLACE INTO events (ord, seq, body) VALUES (?,?,?)", ord,
                   static_cast<std::int64_t>(event.seq), json::Write(event.ToJson())));
  }
  return {};
}

// The plane's events count as sent.
std::size_t CountOf(const json::Value& events) {
  const json::Array* list = events.if_array();
  return list != nullptr ? list->size() : 0;
}

class Keys {
 public:
  void Set(BundleKeyTexts keys) {
    std::lock_guard lock(mutex_);
    keys_ = std::move(keys);
  }
  BundleKeyTexts Get() const {
    std::lock_guard lock(mutex_);
    return keys_;
  }

 private:
  mutable std::mutex mutex_;  // guards keys_
  BundleKeyTexts keys_;
};

class SqliteRunJournal final : public RunJournal {
 public:
  SqliteRunJournal(Store& store, const Clock& clock, const Keys& keys, std::int64_t ord)
      : store_(store), clock_(clock), keys_(keys), ord_(ord) {}

  Status NoteAcknowledged(const json::Value& events) override {
    return WriteNote(store_, WRIT_JOURNAL_POINTS("acknowledged"), Durability::kOnDisk,
                     [&](Database& db) -> Status {
                       WRIT_TRY(db.Do("UPDATE runs SET plane_events = ? WHERE ord = ?",
                                      json::Write(events), ord_));
                       return db.Do("UPDATE progress SET offered = 0, sent = ? WHERE ord = ?",
                                    CountOf(events), ord_);
                     });
  }
  Status NoteStep(std::string_view step, StepPhase phase) override {
    return Lasting(WRIT_JOURNAL_POINTS("step"), [&](Database& db) {
      return db.Do("UPDATE progress SET step = ?, step_done = ?, step_at = ? WHERE ord = ?", step,
                   phase == StepPhase::kDone ? 1 : 0, clock_.Now().unix_ms, ord_);
    });
  }
  Status NoteSession(const std::string& session_name, const std::string& backend) override {
    return Lasting(WRIT_JOURNAL_POINTS("session"), [&](Database& db) {
      return db.Do("UPDATE progress SET session = ?, backend = ? WHERE ord = ?", session_name,
                   backend, ord_);
    });
  }
  Status NotePrepared(const std::string& leftovers) override {
    return Lasting(WRIT_JOURNAL_POINTS("prepared"), [&](Database& db) {
      return db.Do("UPDATE progress SET leftovers = ? WHERE ord = ?", leftovers, ord_);
    });
  }
  Status NoteStarted(const json::Value& ending) override {
    return Lasting(WRIT_JOURNAL_POINTS("started"), [&](Database& db) {
      return db.Do("INSERT OR REPLACE INTO starts (ord, body) VALUES (?,?)", ord_,
                   json::Write(ending));
    });
  }
  Status NoteLeft() override {
    return Lasting(WRIT_JOURNAL_POINTS("left"), [&](Database& db) {
      return db.Do(
          "INSERT OR REPLACE INTO left_behind (run_id, slot, session, backend, leftovers) "
          "SELECT run_id, slot, session, backend, leftovers FROM runs JOIN progress USING (ord) "
          "WHERE ord = ?",
          ord_);
    });
  }
  Status NoteOutput(std::uint64_t bytes) override {
    return Lasting(WRIT_JOURNAL_POINTS("output"), [&](Database& db) {
      return db.Do("UPDATE progress SET output_bytes = ? WHERE ord = ?",
                   static_cast<std::int64_t>(bytes), ord_);
    });
  }
  Status NoteCollected(std::span<const protocol::Event> events, const json::Value& ending,
                       std::span<const JournalUpload> uploads) override {
    return Lasting(WRIT_JOURNAL_POINTS("collected"), [&](Database& db) -> Status {
      WRIT_TRY(InsertEvents(db, ord_, events));
      WRIT_TRY(db.Do("INSERT OR REPLACE INTO endings (ord, body) VALUES (?,?)", ord_,
                     json::Write(ending)));
      std::int64_t n = 0;
      for (const JournalUpload& upload : uploads)
        WRIT_TRY(
            db.Do("INSERT OR REPLACE INTO uploads (ord, n, kind, data_class, hash, bytes, path) "
                  "VALUES (?,?,?,?,?,?,?)",
                  ord_, n++, protocol::Word(upload.kind), upload.data_class, upload.digest.ToHex(),
                  static_cast<std::int64_t>(upload.bytes), upload.path));
      return {};
    });
  }
  Status NoteUploaded(const protocol::Digest& digest) override {
    return Lasting(WRIT_JOURNAL_POINTS("uploaded"), [&](Database& db) {
      return db.Do("UPDATE uploads SET uploaded = 1 WHERE ord = ? AND hash = ?", ord_,
                   digest.ToHex());
    });
  }
  Status NoteToken(const Secret& claim_token) override {
    return Lasting(WRIT_JOURNAL_POINTS("token"), [&](Database& db) {
      return db.Do("UPDATE progress SET claim_token = ? WHERE ord = ?", claim_token.Reveal(), ord_);
    });
  }
  Status NoteReceipt(const json::Value& signed_receipt) override {
    std::lock_guard lock(mutex_);
    receipt_ = json::Write(signed_receipt);
    return {};
  }
  Status NoteEvents(std::span<const protocol::Event> events,
                    std::optional<ChainDelivery> delivery) override {
    std::lock_guard lock(mutex_);
    Status noted = WriteNote(
        store_, WRIT_JOURNAL_POINTS("events"), Durability::kOnDisk, [&](Database& db) -> Status {
          WRIT_TRY(InsertEvents(db, ord_, events));
          WRIT_TRY(InsertReceipt(db));
          if (!delivery) return {};
          return db.Do("UPDATE progress SET sent = ?, in_doubt = ? WHERE ord = ?", delivery->sent,
                       delivery->in_doubt, ord_);
        });
    if (noted) receipt_.reset();
    return noted;
  }
  Status NoteWaiting(const Error& why) override {
    std::lock_guard lock(mutex_);
    return Lasting(WRIT_JOURNAL_POINTS("waiting"), [&](Database& db) -> Status {
      WRIT_TRY(InsertReceipt(db));
      return db.Do(
          "UPDATE progress SET state = 'waiting', why_code = ?, why = ?, waiting_since = "
          "CASE waiting_since WHEN 0 THEN ? ELSE waiting_since END WHERE ord = ?",
          why.code, why.message, clock_.Now().unix_ms, ord_);
    });
  }
  Status Park(const Error& why, const std::string& late) override {
    std::lock_guard lock(mutex_);
    return WriteNote(
        store_, WRIT_JOURNAL_POINTS("park"), Durability::kOnDisk, [&](Database& db) -> Status {
          WRIT_TRY(InsertReceipt(db));
          WRIT_ASSIGN(OpenRun run, ReadRun(db, ord_));
          if (!run.receipt)
            return Error{.kind = ErrorKind::kInternal,
                         .code = "journal.no_receipt",
                         .message = "a run without a receipt cannot be parked"};
          WRIT_TRY(
              db.Do("INSERT OR REPLACE INTO parked (run_id, at, status, code, why, late, bundle) "
                    "VALUES (?,?,?,?,?,?,?)",
                    run.claim.run_id.text(), clock_.Now().unix_ms,
                    run.receipt->FindString("status").value_or(""), why.code, why.message, late,
                    json::Write(BundleOf(run))));
          return db.Do("DELETE FROM runs WHERE ord = ?", ord_);
        });
  }
  Status Close() override {
    return Lasting(WRIT_JOURNAL_POINTS("close"),
                   [&](Database& db) { return db.Do("DELETE FROM runs WHERE ord = ?", ord_); });
  }

 private:
  Status Lasting(Points points, const std::function<Status(Database&)>& work) {
    return WriteNote(store_, points, Durability::kOutlivesProcess, work);
  }
  Status InsertReceipt(Database& db) {
    if (!receipt_) return {};
    const BundleKeyTexts keys = keys_.Get();
    return db.Do(
        "INSERT OR REPLACE INTO receipts (ord, body, plane_key, runner_key) VALUES (?,?,?,?)", ord_,
        *receipt_, keys.plane_pem, keys.runner_pem);
  }

  Store& store_;
  const Clock& clock_;
  const Keys& keys_;
  const std::int64_t ord_;
  std::mutex mutex_;                    // guards receipt_; held while it is written
  std::optional<std::string> receipt_;  // JSON
};

class SqliteJournal final : public Journal {
 public:
  SqliteJournal(std::unique_ptr<Store> store, const Clock& clock)
      : store_(std::move(store)), clock_(clock) {}

  void UseKeys(BundleKeyTexts keys) override { keys_.Set(std::move(keys)); }

  Result<std::unique_ptr<RunJournal>> Begin(const JournalClaim& claim,
                                            const Secret& claim_token) override {
    std::int64_t ord = 0;
    WRIT_TRY(WriteNote(
        *store_, WRIT_JOURNAL_POINTS("begin"), Durability::kOnDisk, [&](Database& db) -> Status {
          WRIT_TRY(db.Do("DELETE FROM runs WHERE run_id = ?", claim.run_id.text()));
          WRIT_ASSIGN(auto made,
                      db.Number("INSERT INTO runs (run_id, claimed_at, extended, slot, contract, "
                                "plane_events) VALUES (?,?,?,?,?,?) RETURNING ord",
                                claim.run_id.text(), clock_.Now().unix_ms, claim.extended ? 1 : 0,
                                static_cast<std::int64_t>(claim.slot), json::Write(claim.contract),
                                json::Write(claim.events)));
          ord = made.value_or(0);
          return db.Do("INSERT INTO progress (ord, claim_token, offered, sent) VALUES (?,?,?,?)",
                       ord, claim_token.Reveal(), claim.offered ? 1 : 0, CountOf(claim.events));
        }));
    return std::unique_ptr<RunJournal>(
        std::make_unique<SqliteRunJournal>(*store_, clock_, keys_, ord));
  }

  Result<std::unique_ptr<RunJournal>> Resume(const protocol::RunId& run) override {
    WRIT_ASSIGN(auto ord, store_->Read([&](Database& db) {
      return db.Number("SELECT ord FROM runs WHERE run_id = ?", run.text());
    }));
    if (!ord)
      return Error{.kind = ErrorKind::kNotFound,
                   .code = "journal.unknown_run",
                   .message = "the journal has no open run of this name"};
    return std::unique_ptr<RunJournal>(
        std::make_unique<SqliteRunJournal>(*store_, clock_, keys_, *ord));
  }

  Result<std::vector<protocol::RunId>> Waiting() override {
    return store_->Read([&](Database& db) -> Result<std::vector<protocol::RunId>> {
      std::vector<protocol::RunId> out;
      WRIT_ASSIGN(auto row, db.Ask("SELECT run_id FROM runs JOIN progress USING (ord) "
                                   "WHERE state = 'waiting' ORDER BY ord"));
      for (;;) {
        WRIT_ASSIGN(bool any, row.Next());
        if (!any) return out;
        if (auto run = protocol::RunId::Parse(row.Text(0))) out.push_back(std::move(*run));
      }
    });
  }

  Result<OpenRun> Read(const protocol::RunId& run) override {
    return store_->Read([&](Database& db) -> Result<OpenRun> {
      WRIT_ASSIGN(auto ord, db.Number("SELECT ord FROM runs WHERE run_id = ?", run.text()));
      if (!ord)
        return Error{.kind = ErrorKind::kNotFound,
                     .code = "journal.unknown_run",
                     .message = "the journal has no open run of this name"};
      return ReadRun(db, *ord);
    });
  }

  Result<std::size_t> CountOpen() override {
    WRIT_ASSIGN(auto count, store_->Read([&](Database& db) {
      return db.Number("SELECT count(*) FROM progress WHERE state = 'open'");
    }));
    return static_cast<std::size_t>(count.value_or(0));
  }

  Result<std::vector<JobPlace>> Left() override {
    return store_->Read([&](Database& db) { return ReadLeft(db); });
  }

  Status ForgetLeft(const protocol::RunId& run) override {
    return WriteNote(*store_, WRIT_JOURNAL_POINTS("forget_left"), Durability::kOutlivesProcess,
                     [&](Database& db) {
                       return db.Do("DELETE FROM left_behind WHERE run_id = ?", run.text());
                     });
  }

  Result<std::vector<OpenRun>> FindOpen() override {
    std::vector<OpenRun> runs;
    std::vector<std::int64_t> damaged;
    WRIT_TRY(store_->Read([&](Database& db) -> Status {
      WRIT_ASSIGN(auto row,
                  db.Ask("SELECT ord FROM progress WHERE state != 'damaged' ORDER BY ord"));
      for (;;) {
        WRIT_ASSIGN(bool any, row.Next());
        if (!any) return {};
        Result<OpenRun> run = ReadRun(db, row.Int(0));
        if (run) {
          runs.push_back(std::move(*run));
          continue;
        }
        log::Error("journal.damaged", "a run's journal is damaged and was set aside",
                   {{"entry", row.Int(0)}, {"code", run.error().code}});
        damaged.push_back(row.Int(0));
      }
    }));
    for (std::int64_t ord : damaged)
      WRIT_TRY(store_->Write([&](Database& db) {
        return db.Do("UPDATE progress SET state = 'damaged' WHERE ord = ?", ord);
      }));
    return runs;
  }

 private:
  std::unique_ptr<Store> store_;
  const Clock& clock_;
  Keys keys_;
};

// Opened, of our version, and whole.
Result<std::unique_ptr<Store>> OpenWhole(const std::string& path) {
  WRIT_ASSIGN(std::unique_ptr<Store> store, Store::Open(path, kJournalMigrations));
  WRIT_ASSIGN(auto check,
              store->Read([](Database& db) { return db.Value("PRAGMA quick_check(1)"); }));
  if (check != "ok")
    return Error{.kind = ErrorKind::kIntegrity,
                 .code = "store.damaged",
                 .message = "the journal's database is damaged"};
  return store;
}

// L39: one damaged file is not fatal for all runs to come.
Status SetAside(int dir, const Clock& clock) {
  const std::string aside = "damaged-" + std::to_string(clock.Now().unix_ms);
  WRIT_ASSIGN(UniqueFd to, MakeDirectoriesBeneath(dir, aside, 0700));
  for (const char* suffix : {"-wal", "-shm", ""}) {
    const std::string name = std::string(kFileName) + suffix;
    if (renameat(dir, name.c_str(), to.get(), name.c_str()) != 0 && errno != ENOENT)
      return SysError(errno, "journal.write", "could not set a damaged journal aside");
  }
  log::Error("journal.damaged",
             "the journal's database is damaged; it was set aside and a new one begun",
             {{"folder", "journal/" + aside}});
  return {};
}

}  // namespace

Result<std::unique_ptr<Journal>> OpenJournal(const std::string& state_dir, const Clock& clock) {
  WRIT_ASSIGN(UniqueFd state, MakeDirectories(state_dir, 0711));
  WRIT_ASSIGN(UniqueFd dir, MakeDirectoriesBeneath(state.get(), "journal", 0700));
  const std::string path = state_dir + "/journal/" + kFileName;
  Result<std::unique_ptr<Store>> store = OpenWhole(path);
  if (!store && store.error().kind == ErrorKind::kIntegrity) {
    WRIT_TRY(SetAside(dir.get(), clock));
    store = OpenWhole(path);
  }
  if (!store) return Named(std::move(store).error()).With("opening the journal");
  return std::unique_ptr<Journal>(std::make_unique<SqliteJournal>(std::move(*store), clock));
}

}  // namespace writ::runner
