#include "writ/workspace/pull.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "harness.h"

namespace writ::workspace::test {
namespace {
namespace fs = std::filesystem;

// A dirty checkout, its run, and what the run made.
struct Trip {
  Trip()
      : repo(dir.path() + "/repo"),
        blobs(dir.Sub("blobs")),
        place(dir.Sub("run"), dir.Sub("cache")) {
    MakeRepository(repo,
                   {{"a", "one\ntwo\nthree\n"}, {"b", "b\n"}, {"d/gone", "g\n"}, {"mine", "m\n"}});
    WriteFileAt(repo + "/a", "ONE\ntwo\nthree\n");    // tracked and dirty
    WriteFileAt(repo + "/notes.txt", "notes\n");      // untracked, sent along
    WriteFileAt(repo + "/private.txt", "private\n");  // untracked, stays here
  }
  void Run() {
    captured = Capture({.repository = repo,
                        .allow_untracked = {"notes.txt"},
                        .cache_directory = dir.path() + "/captured"})
                   .value();
    blobs.PutAll(captured);
    materialized.emplace(place.Materialize(captured.manifest, blobs).value());
    WriteFileAt(place.tree + "/a", "ONE\ntwo\nTHREE\n");
    WriteFileAt(place.tree + "/new/file", "new\n", 0755);
    WriteFileAt(place.tree + "/notes.txt", "notes\nmore\n");
    fs::remove_all(place.tree + "/d");
    collected = place.Collect(*materialized).value();
  }
  Result<PullResult> Pull(const std::string& id = "run_1") {
    auto run_id = protocol::RunId::Parse(id).value();
    return workspace::Pull({.repository = repo,
                            .manifest = &captured.manifest,
                            .delta = collected.delta,
                            .diff = collected.diff,
                            .run_id = run_id,
                            .commit_time = 1'700'000'000});
  }
  TempDir dir;
  std::string repo;
  BlobFolder blobs;
  RunPlace place;
  Captured captured;
  std::optional<Materialized> materialized;
  Collected collected;
};

TEST(Pull, DirtyCheckoutRunPullTwiceGivesTheExpectedTreeAndLosesNothing) {
  Trip trip;
  trip.Run();
  std::string index_before = ReadFileAt(trip.repo + "/.git/index");
  auto first = trip.Pull();
  WRIT_ASSERT_OK(first);
  EXPECT_EQ(first->outcome, PullResult::Outcome::kAppliedInPlace) << first->reason;
  std::map<std::string, std::string> expected = Snapshot(trip.place.tree);
  expected["private.txt"] = Snapshot(trip.repo)["private.txt"];
  EXPECT_EQ(Snapshot(trip.repo), expected);
  EXPECT_EQ(ReadFileAt(trip.repo + "/private.txt"), "private\n");
  EXPECT_EQ(ReadFileAt(trip.repo + "/.git/index"), index_before);
  auto second = trip.Pull();
  WRIT_ASSERT_OK(second);
  EXPECT_EQ(second->outcome, PullResult::Outcome::kAlreadyApplied);
  EXPECT_EQ(Snapshot(trip.repo), expected);
  EXPECT_FALSE(fs::exists(trip.repo + "/.git/writ-pull-run_1"));
  EXPECT_FALSE(fs::exists(trip.repo + "/d"));
}

TEST(Pull, LandsOnABranchWhereTheCheckoutHasMovedOn) {
  for (int way = 0; way < 4; ++way) {
    SCOPED_TRACE(way);
    Trip trip;
    trip.Run();
    if (way == 0) WriteFileAt(trip.repo + "/a", "edited since\n");
    if (way == 1) WriteFileAt(trip.repo + "/mine", "another file edited since\n");
    if (way == 2) WriteFileAt(trip.repo + "/notes.txt", "notes edited since\n");
    if (way == 3) CommitAll(trip.repo, "committed since");
    auto before = Snapshot(trip.repo);
    std::string index = ReadFileAt(trip.repo + "/.git/index");
    auto pulled = trip.Pull();
    WRIT_ASSERT_OK(pulled);
    EXPECT_EQ(pulled->outcome, PullResult::Outcome::kLandedOnBranch);
    EXPECT_EQ(pulled->branch, "refs/heads/writ/run_1");
    EXPECT_EQ(Snapshot(trip.repo), before);
    EXPECT_EQ(ReadFileAt(trip.repo + "/.git/index"), index);
    Git(trip.repo, {"fsck", "--strict"});
    std::string out = trip.dir.path() + "/out" + std::to_string(way);
    Git(trip.repo, {"worktree", "add", "-q", out, "writ/run_1"});
    EXPECT_EQ(Snapshot(out), Snapshot(trip.place.tree));
    auto again = trip.Pull();
    WRIT_ASSERT_OK(again);
    EXPECT_EQ(again->outcome, PullResult::Outcome::kAlreadyApplied) << again->reason;
  }
}

TEST(Pull, NeverWritesOverAFileThatAppearedSince) {
  Trip trip;
  trip.Run();
  WriteFileAt(trip.repo + "/new/file", "somebody's work\n");
  auto pulled = trip.Pull();
  WRIT_ASSERT_OK(pulled);
  EXPECT_EQ(pulled->outcome, PullResult::Outcome::kLandedOnBranch);
  EXPECT_EQ(ReadFileAt(trip.repo + "/new/file"), "somebody's work\n");
  EXPECT_EQ(ReadFileAt(trip.repo + "/a"), "ONE\ntwo\nthree\n") << "all or nothing";
}

TEST(Pull, DoesNotWriteThroughALinkThatAppearedSince) {  // L13
  Trip trip;
  trip.Run();
  std::string outside = trip.dir.Sub("outside");
  ASSERT_EQ(::symlink(outside.c_str(), (trip.repo + "/new").c_str()), 0);
  auto pulled = trip.Pull();
  WRIT_ASSERT_OK(pulled);
  EXPECT_EQ(pulled->outcome, PullResult::Outcome::kLandedOnBranch) << pulled->reason;
  EXPECT_TRUE(fs::is_empty(outside));
  EXPECT_EQ(ReadFileAt(trip.repo + "/a"), "ONE\ntwo\nthree\n");
}

TEST(Pull, SaysWhenARunChangedNothing) {
  Trip trip;
  trip.Run();
  trip.collected.delta.clear();
  auto pulled = trip.Pull();
  WRIT_ASSERT_OK(pulled);
  EXPECT_EQ(pulled->outcome, PullResult::Outcome::kNothingToDo);
}

// A runner of another make tells one diff, against the base commit.
TEST(Pull, OfAWholeOutputAloneAppliesItToACleanCheckoutAndElseLandsOnABranch) {
  Trip dirty;
  dirty.Run();
  const auto pull = [](Trip& trip) {
    return workspace::Pull({.repository = trip.repo,
                            .manifest = &trip.captured.manifest,
                            .delta = std::nullopt,
                            .diff = trip.collected.diff,
                            .run_id = protocol::RunId::Parse("run_1").value(),
                            .commit_time = 1'700'000'000});
  };
  auto landed = pull(dirty);
  WRIT_ASSERT_OK(landed);
  EXPECT_EQ(landed->outcome, PullResult::Outcome::kLandedOnBranch) << landed->reason;
  EXPECT_EQ(ReadFileAt(dirty.repo + "/a"), "ONE\ntwo\nthree\n");

  Trip clean;
  CommitAll(clean.repo, "all of it");
  clean.Run();
  auto applied = pull(clean);
  WRIT_ASSERT_OK(applied);
  EXPECT_EQ(applied->outcome, PullResult::Outcome::kAppliedInPlace) << applied->reason;
  EXPECT_EQ(ReadFileAt(clean.repo + "/a"), "ONE\ntwo\nTHREE\n");
}

TEST(Pull, RefusesABranchThatHoldsSomethingElse) {
  Trip trip;
  trip.Run();
  Git(trip.repo, {"branch", "writ/run_1"});
  WriteFileAt(trip.repo + "/a", "edited since\n");
  auto pulled = trip.Pull();
  ASSERT_FALSE(pulled.has_value());
  EXPECT_EQ(pulled.error().code, "pull.branch_exists");
  Git(trip.repo, {"pack-refs", "--all"});
  EXPECT_EQ(trip.Pull().error().code, "pull.branch_exists");
}

TEST(Pull, PointsAtTheOriginalsOfAnInterruptedOne) {
  Trip trip;
  trip.Run();
  WriteFileAt(trip.repo + "/.git/writ-pull-run_1/0", "original");
  auto pulled = trip.Pull();
  ASSERT_FALSE(pulled.has_value());
  EXPECT_EQ(pulled.error().code, "pull.interrupted");
  EXPECT_NE(pulled.error().hint.find("writ-pull-run_1"), std::string::npos);
}

TEST(Pull, RefusesHostileOutput) {  // L13
  Trip trip;
  trip.Run();
  trip.collected.delta = trip.collected.diff =
      "diff --git a/.git/hooks/x b/.git/hooks/x\nnew file mode 100755\n--- /dev/null\n"
      "+++ b/.git/hooks/x\n@@ -0,0 +1 @@\n+evil\n";
  auto pulled = trip.Pull();
  ASSERT_FALSE(pulled.has_value());
  EXPECT_EQ(pulled.error().code, "workspace.hostile_path");
  EXPECT_FALSE(fs::exists(trip.repo + "/.git/hooks/x"));
}

}  // namespace
}  // namespace writ::workspace::test
