// Databases of every version that shipped: opened and migrated whole, or refused where they are
// newer. The recorded ones are in tests/golden/schema.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "store/schema.h"
#include "store/store.h"
#include "support/places.h"
#include "test_plane.h"
#include "writ/base/sqlite/store.h"
#include "writ/runner/journal.h"

namespace writ {
namespace {

using plane::store::SchemaVersion;
using sqlite::Database;

std::string Recorded(const std::string& kind, int version) {
  return writ::test::SourceDir() + "/tests/golden/schema/" + kind + "-" + std::to_string(version) +
         ".sql";
}

// A database as that version left it, beside nothing else.
void MakeRecorded(const std::string& path, const std::string& kind, int version) {
  const std::string sql = test::ReadText(Recorded(kind, version));
  ASSERT_FALSE(sql.empty()) << "record " << Recorded(kind, version) << " (record.py beside it)";
  auto db = Database::Open(path, Database::Mode::kReadWrite);
  ASSERT_TRUE(db);
  Status done = (*db)->Exec(sql.c_str());
  ASSERT_TRUE(done) << done.error().ToString();
}

std::int64_t Number(const std::string& path, const char* sql) {
  auto db = Database::Open(path, Database::Mode::kReadWrite);
  auto value = db ? (*db)->Number(sql) : Result<std::optional<std::int64_t>>(db.error());
  EXPECT_TRUE(value) << (value ? "" : value.error().ToString());
  return value ? value->value_or(-1) : -1;
}

// The same objects, column by column, as a database that was never old.
std::string Shape(const std::string& path) {
  auto db = Database::Open(path, Database::Mode::kReadOnly);
  if (!db) return db.error().ToString();
  auto rows = (*db)->Ask(
      "SELECT m.type || ' ' || m.name || ' ' || group_concat(coalesce(c.name || ':' || c.type || "
      "':' || c.\"notnull\" || ':' || c.pk, '')) FROM sqlite_schema m LEFT JOIN "
      "pragma_table_info(m.name) c WHERE m.name NOT LIKE 'sqlite_%' GROUP BY m.name ORDER BY "
      "m.name");
  std::string out;
  while (rows) {
    auto row = rows->Next();
    if (!row || !*row) break;
    out += rows->Text(0) + "\n";
  }
  return out;
}

TEST(PlaneSchema, OfEveryOlderVersionIsMigratedWithAllThatItHolds) {
  test::TempFolder folder;
  const std::string fresh = folder.path() + "/fresh.db";
  ASSERT_TRUE(plane::store::OpenStore(fresh));
  for (int version = 1; version < SchemaVersion(); ++version) {
    SCOPED_TRACE(version);
    const std::string path = folder.path() + "/" + std::to_string(version) + ".db";
    MakeRecorded(path, "plane", version);
    auto store = plane::store::OpenStore(path);
    ASSERT_TRUE(store) << store.error().ToString();
    store->reset();
    EXPECT_EQ(Number(path, "PRAGMA user_version"), SchemaVersion());
    EXPECT_EQ(Number(path, "SELECT count(*) FROM runs"), 2);
    EXPECT_EQ(Number(path, "SELECT count(*) FROM events"), 1);
    EXPECT_EQ(Number(path, "SELECT count(*) FROM secrets WHERE sealed = x'0001'"), 1);
    // What a later version wants to know of an older run, as far as it can be known.
    EXPECT_EQ(Number(path, "SELECT runner_key = 'PEM-1' FROM runs WHERE run_id = 'run_done'"), 1);
    EXPECT_EQ(Shape(path), Shape(fresh));
  }
}

TEST(PlaneSchema, OfANewerVersionIsRefusedAndLeftAlone) {
  test::TempFolder folder;
  const std::string path = folder.path() + "/state.db";
  ASSERT_TRUE(plane::store::OpenStore(path));
  const std::string newer = "PRAGMA user_version=" + std::to_string(SchemaVersion() + 1);
  {
    auto db = Database::Open(path, Database::Mode::kReadWrite);
    ASSERT_TRUE(db && (*db)->Exec(newer.c_str()));
  }
  auto store = plane::store::OpenStore(path);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, "store.newer");
  EXPECT_EQ(Number(path, "PRAGMA user_version"), SchemaVersion() + 1);
}

// Killed after every statement of a migration, the file is the old one still, and the next start
// migrates it.
TEST(PlaneSchema, IsTheOldOneOrTheNewOneWheneverAMigrationIsKilled) {
  test::TempFolder folder;
  int cuts = 0;
  for (int version = 1; version < SchemaVersion(); ++version) {
    const std::string step = plane::store::kMigrations[static_cast<std::size_t>(version)];
    const int before = cuts;
    for (std::size_t cut = step.find(';'); cut != std::string::npos;
         cut = step.find(';', cut + 1)) {
      const std::string part = step.substr(0, cut + 1);
      if (part.rfind("--") != std::string::npos &&
          part.find('\n', part.rfind("--")) == std::string::npos)
        continue;  // within a comment
      ++cuts;
      const std::string path =
          folder.path() + "/" + std::to_string(version) + "-" + std::to_string(cuts) + ".db";
      MakeRecorded(path, "plane", version);
      const pid_t child = ::fork();
      ASSERT_GE(child, 0);
      if (child == 0) {
        auto db = Database::Open(path, Database::Mode::kReadWrite);
        const bool begun = db && (*db)->Exec("BEGIN IMMEDIATE") && (*db)->Exec(part.c_str()) &&
                           (*db)->Exec("PRAGMA user_version=99");
        if (begun) ::kill(::getpid(), SIGKILL);
        ::_exit(7);
      }
      int status = 0;
      ASSERT_EQ(::waitpid(child, &status, 0), child);
      ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << part;
      EXPECT_EQ(Number(path, "PRAGMA user_version"), version) << part;
      auto store = plane::store::OpenStore(path);
      ASSERT_TRUE(store) << store.error().ToString();
      store->reset();
      EXPECT_EQ(Number(path, "SELECT count(*) FROM runs"), 2);
    }
    EXPECT_GT(cuts, before);
  }
  EXPECT_GT(cuts, 3);
}

TEST(JournalSchema, OfEveryOlderVersionIsMigratedAndANewerOneRefused) {
  SystemClock clock;
  test::TempFolder fresh;
  ASSERT_TRUE(runner::OpenJournal(fresh.path(), clock));
  const std::string name = "journal/journal.db";
  ASSERT_TRUE(std::filesystem::exists(fresh.path() + "/" + name));
  const auto newest = Number(fresh.path() + "/" + name, "PRAGMA user_version");
  for (int version = 1; version < newest; ++version) {
    SCOPED_TRACE(version);
    test::TempFolder folder;
    const std::string path = folder.path() + "/" + name;
    std::filesystem::create_directory(folder.path() + "/journal");
    std::filesystem::permissions(folder.path() + "/journal", std::filesystem::perms::owner_all);
    MakeRecorded(path, "journal", version);
    auto journal = runner::OpenJournal(folder.path(), clock);
    ASSERT_TRUE(journal) << journal.error().ToString();
    journal->reset();
    EXPECT_EQ(Number(path, "PRAGMA user_version"), newest);
    EXPECT_EQ(Number(path, "SELECT count(*) FROM runs WHERE run_id = 'run_open'"), 1);
    EXPECT_EQ(Number(path, "SELECT output_bytes FROM progress"), 7);
    EXPECT_EQ(Shape(path), Shape(fresh.path() + "/" + name));
  }
  {
    auto db = Database::Open(fresh.path() + "/" + name, Database::Mode::kReadWrite);
    ASSERT_TRUE(db && (*db)->Exec("PRAGMA user_version=1000"));
  }
  auto refused = runner::OpenJournal(fresh.path(), clock);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "journal.newer");
}

}  // namespace
}  // namespace writ
