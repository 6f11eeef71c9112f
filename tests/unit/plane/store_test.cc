// The store: versions, group commit, and what kill -9 leaves.
#include "store/store.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "store/schema.h"
#include "test_plane.h"

namespace writ::plane::store {
namespace {

TEST(Store, RefusesAStateOfANewerVersionAndLeavesItAlone) {
  test::TempFolder folder;
  const std::string path = folder.path() + "/state.db";
  { ASSERT_TRUE(OpenStore(path)); }
  {
    auto db = Database::Open(path, Database::Mode::kReadWrite);
    ASSERT_TRUE((*db)->Exec("PRAGMA user_version=99"));
  }
  auto opened = OpenStore(path);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, "store.newer");
  auto db = Database::Open(path, Database::Mode::kReadWrite);
  EXPECT_EQ((*db)->Number("PRAGMA user_version").value(), 99);
}

TEST(Store, OpensAnOlderStateByMigratingIt) {
  test::TempFolder folder;
  const std::string path = folder.path() + "/state.db";
  { ASSERT_TRUE(Database::Open(path, Database::Mode::kReadWrite)); }  // version 0: nothing in it
  auto opened = OpenStore(path);
  ASSERT_TRUE(opened) << opened.error().ToString();
  auto version = (*opened)->Read([](Database& db) { return db.Number("PRAGMA user_version"); });
  EXPECT_EQ(version.value(), SchemaVersion());
  auto runs = (*opened)->Read([](Database& db) { return db.Number("SELECT count(*) FROM runs"); });
  EXPECT_EQ(runs.value(), 0);
}

// A plane of the first version: an enrolled runner, one run that is claimed and one that has ended.
TEST(Store, MigratesRunsOfTheFirstVersionWithTheKeyOfTheirRunner) {
  test::TempFolder folder;
  const std::string path = folder.path() + "/state.db";
  {
    auto db = Database::Open(path, Database::Mode::kReadWrite);
    ASSERT_TRUE((*db)->Exec(kMigrations[0]));
    ASSERT_TRUE((*db)->Exec("PRAGMA user_version=1"));
    ASSERT_TRUE(
        (*db)->Exec("INSERT INTO runners (runner_id, pool, key_id, public_key, enrolled_at) VALUES "
                    "('rnr_1','default','ed25519:00','PEM',1)"));
    for (const char* run : {"('run_1','claimed','rnr_1',", "('run_2','completed','rnr_1',",
                            "('run_3','created',NULL,"}) {
      const std::string sql =
          "INSERT INTO runs (run_id, status, runner_id, pool, agent_kind, prompt, requested_by, "
          "submitted_by, request, decision, reason, requirements, policy_hash, expires_at, "
          "timeout_ms, disclosure, created_at, updated_at) VALUES " +
          std::string(run) +
          "'default','mock','p','{}','o','{}','allow','','[]','h',1,1,'none',1,1)";
      ASSERT_TRUE((*db)->Exec(sql.c_str()));
    }
  }
  auto opened = OpenStore(path);
  ASSERT_TRUE(opened) << opened.error().ToString();
  auto key = [&](const char* run) {
    return (*opened)
        ->Read([&](Database& db) {
          return db.Value("SELECT runner_key FROM runs WHERE run_id = ?", run);
        })
        .value();
  };
  EXPECT_EQ(key("run_1"), "PEM");
  EXPECT_EQ(key("run_2"), "PEM");
  EXPECT_EQ(key("run_3"), std::nullopt);
}

TEST(Store, IsInWalModeFullySynchronousAndStrict) {
  test::TempFolder folder;
  auto store = OpenStore(folder.path() + "/state.db");
  ASSERT_TRUE(store);
  EXPECT_EQ((*store)->Read([](Database& db) { return db.Value("PRAGMA journal_mode"); }).value(),
            "wal");
  std::optional<std::int64_t> synchronous;
  ASSERT_TRUE((*store)->Write([&](Database& db) -> Status {
    WRIT_ASSIGN(synchronous, db.Number("PRAGMA synchronous"));
    return {};
  }));
  EXPECT_EQ(synchronous, 2);
  auto loose = (*store)->Read([](Database& db) {
    return db.Number(
        "SELECT count(*) FROM pragma_table_list WHERE schema = 'main' AND type = 'table' "
        "AND strict = 0 AND name NOT LIKE 'sqlite_%'");
  });
  EXPECT_EQ(loose.value(), 0) << "every table is STRICT";
}

TEST(Store, AFileThatIsNoDatabaseIsAnIntegrityError) {
  test::TempFolder folder;
  test::WriteText(folder.path() + "/state.db", std::string(8192, 'x'));
  auto opened = OpenStore(folder.path() + "/state.db");
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().kind, ErrorKind::kIntegrity);
}

TEST(Store, AWriteThatFailsTakesNoneOfItsNeighboursWithIt) {
  test::TempFolder folder;
  auto store = OpenStore(folder.path() + "/state.db");
  ASSERT_TRUE(store);
  std::atomic<int> good{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 40; ++i) {
        const std::string name = std::to_string(t) + "-" + std::to_string(i);
        auto status = (*store)->Write([&](Database& db) -> Status {
          WRIT_ASSIGN(int added, db.Run("INSERT INTO meta (name, value) VALUES (?, 'v')", name));
          (void)added;
          if (i % 4 == 3) {
            return Error{.kind = ErrorKind::kConflict, .code = "test.undo", .message = "undo this"};
          }
          return {};
        });
        EXPECT_EQ(status.has_value(), i % 4 != 3);
        if (status) ++good;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  auto count = (*store)->Read([](Database& db) { return db.Number("SELECT count(*) FROM meta"); });
  EXPECT_EQ(count.value(), good.load());
  EXPECT_EQ(good.load(), 8 * 30);
}

TEST(Store, TwoProcessesMayWriteAtTheSameTime) {
  test::TempFolder folder;
  const std::string path = folder.path() + "/state.db";
  { ASSERT_TRUE(OpenStore(path)); }
  auto write_many = [&path](const std::string& who) {
    auto store = OpenStore(path);
    for (int i = 0; store && i < 50; ++i) {
      auto done = (*store)->Write([&](Database& db) -> Status {
        WRIT_ASSIGN(int added, db.Run("INSERT INTO meta (name, value) VALUES (?, '')",
                                      who + std::to_string(i)));
        (void)added;
        return {};
      });
      if (!done) return 1;
    }
    return store ? 0 : 1;
  };
  pid_t child = ::fork();
  if (child == 0) ::_exit(write_many("child"));
  EXPECT_EQ(write_many("parent"), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  auto store = OpenStore(path);
  auto count = (*store)->Read([](Database& db) { return db.Number("SELECT count(*) FROM meta"); });
  EXPECT_EQ(count.value(), 100);
}

}  // namespace
}  // namespace writ::plane::store
