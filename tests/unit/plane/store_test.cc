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
