#include "writ/workspace/materialize.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "harness.h"
#include "writ/base/paths.h"

namespace writ::workspace::test {
namespace {
namespace fs = std::filesystem;

// A manifest on a small repository, with a hostile diff or untracked file put in.
struct Hostile {
  Hostile() : blobs(dir.Sub("blobs")) {
    MakeRepository(dir.path() + "/repo", {{"a", "one\ntwo\n"}, {"d/f", "x\n"}});
    manifest = ManifestOfHead(dir.path() + "/repo", blobs);
  }
  std::string CodeWithDiff(const std::string& diff) {
    manifest.dirty_diff_hash = blobs.Put(diff);
    return Code();
  }
  std::string Code() {
    RunPlace place(dir.Sub("run" + std::to_string(number++)), dir.Sub("cache"));
    auto done = place.Materialize(manifest, blobs);
    return done ? "ok" : done.error().code;
  }
  TempDir dir;
  BlobFolder blobs;
  protocol::Manifest manifest;
  int number = 0;
};

std::string AddFile(const std::string& path) {
  return "diff --git a/" + path + " b/" + path + "\nnew file mode 100644\n--- /dev/null\n+++ b/" +
         path + "\n@@ -0,0 +1 @@\n+x\n";
}

TEST(Materialize, RefusesDiffsThatWriteWhereNoFileMayBe) {  // L13
  Hostile hostile;
  for (const char* path : {"../x", "d/../../x", ".git/hooks/pre-commit", ".GIT/config", "d/.git/x",
                           "git~1/x", ".git /x"})
    EXPECT_EQ(hostile.CodeWithDiff(AddFile(path)), "workspace.hostile_path") << path;
  EXPECT_EQ(hostile.CodeWithDiff(AddFile("a")), "workspace.diff_does_not_apply");
  EXPECT_EQ(hostile.CodeWithDiff(AddFile("a/below")), "workspace.hostile_path");
  EXPECT_EQ(hostile.CodeWithDiff(AddFile("d")), "workspace.hostile_path");
  // A link, then a file through it.
  std::string link =
      "diff --git a/l b/l\nnew file mode 120000\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 "
      "@@\n+/tmp\n\\ No newline at end of file\n";
  EXPECT_EQ(hostile.CodeWithDiff(link + AddFile("l/x")), "workspace.hostile_path");
  EXPECT_EQ(hostile.CodeWithDiff(link), "ok");
  EXPECT_EQ(hostile.CodeWithDiff("not a diff\n"), "patch.malformed");
}

TEST(Materialize, RefusesTreesThatGitWouldNotCheckOut) {  // L13
  Hostile hostile;
  std::string repo = hostile.dir.path() + "/repo";
  std::string blob = Git(repo, {"hash-object", "-w", "--stdin"}, "evil\n");
  blob.pop_back();
  std::string sub = Git(repo, {"mktree"}, "100644 blob " + blob + "\tconfig\n");
  sub.pop_back();
  for (const std::string& entry :
       {"040000 tree " + sub + "\t.git", "040000 tree " + sub + "\t.GIT",
        "040000 tree " + sub + "\tgit~1", "100644 blob " + blob + "\t.."}) {
    std::string tree = Git(repo, {"mktree"}, entry + "\n");
    tree.pop_back();
    std::string commit = Git(repo, {"commit-tree", "-m", "x", tree});
    commit.pop_back();
    Git(repo, {"update-ref", "HEAD", commit});
    hostile.manifest = ManifestOfHead(repo, hostile.blobs);
    EXPECT_EQ(hostile.Code(), "workspace.hostile_tree") << entry;
  }
}

TEST(Materialize, RefusesBytesThatAreNotThoseOfTheirHash) {  // L15
  Hostile hostile;
  std::string bundle = hostile.blobs.PathOf(hostile.manifest.bundle_hash);
  std::string good = ReadFileAt(bundle);
  for (std::size_t at : {std::size_t{3}, good.size() / 2, good.size() - 1}) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 1);
    WriteFileAt(bundle, bad);
    RunPlace place(hostile.dir.Sub("bad" + std::to_string(at)), hostile.dir.Sub("cache"));
    auto done = place.Materialize(hostile.manifest, hostile.blobs);
    ASSERT_FALSE(done.has_value());
    EXPECT_EQ(done.error().code, "transfer.bundle_hash");
    EXPECT_EQ(FailureClassOf(done.error()), "transfer_failed");
  }
  WriteFileAt(bundle, good);
  protocol::Digest diff = hostile.blobs.Put(AddFile("new"));
  hostile.manifest.dirty_diff_hash = diff;
  WriteFileAt(hostile.blobs.PathOf(diff), AddFile("other"));
  EXPECT_EQ(hostile.Code(), "transfer.blob_hash");
  ASSERT_EQ(::unlink(hostile.blobs.PathOf(diff).c_str()), 0);
  EXPECT_EQ(hostile.Code(), "transfer.blob.missing");
}

TEST(Materialize, SaysWhatABundleLacks) {
  Hostile hostile;
  std::string repo = hostile.dir.path() + "/repo";
  WriteFileAt(repo + "/a", "three\n");
  CommitAll(repo, "second");
  hostile.manifest = ManifestOfHead(repo, hostile.blobs);
  hostile.manifest.bundle_hash =
      hostile.blobs.Put(Git(repo, {"bundle", "create", "-q", "-", "HEAD~1..HEAD"}));
  EXPECT_EQ(hostile.Code(), "workspace.bundle_prerequisites");
  Git(repo, {"branch", "old", "HEAD~1"});
  hostile.manifest.bundle_hash =
      hostile.blobs.Put(Git(repo, {"bundle", "create", "-q", "-", "old"}));
  EXPECT_EQ(hostile.Code(), "workspace.bundle_incomplete");
  std::string cut = Git(repo, {"bundle", "create", "-q", "-", "HEAD"});
  hostile.manifest.bundle_hash = hostile.blobs.Put(cut.substr(0, cut.size() - 30));
  EXPECT_EQ(hostile.Code(), "workspace.bundle_pack");
  hostile.manifest.bundle_hash = hostile.blobs.Put("hello");
  EXPECT_EQ(hostile.Code(), "bundle.not_a_bundle");
}

TEST(Materialize, ReadsBundlesOfBothVersionsWithSeveralRefs) {
  Hostile hostile;
  std::string repo = hostile.dir.path() + "/repo";
  Git(repo, {"tag", "-a", "-m", "t", "v1"});
  hostile.manifest.bundle_hash =
      hostile.blobs.Put(Git(repo, {"bundle", "create", "-q", "--version=3", "-", "--all", "HEAD"}));
  EXPECT_EQ(hostile.Code(), "ok");
}

TEST(Materialize, GivesTheJobARepositoryThatItCanUse) {
  Hostile hostile;
  hostile.manifest.dirty_diff_hash = hostile.blobs.Put(
      "diff --git a/a b/a\n--- a/a\n+++ b/a\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n" + AddFile("new"));
  RunPlace place(hostile.dir.Sub("run"), hostile.dir.Sub("cache"));
  WRIT_ASSERT_OK(place.Materialize(hostile.manifest, hostile.blobs));
  EXPECT_EQ(Git(place.tree, {"status", "--porcelain"}), " M a\n?? new\n");
  EXPECT_EQ(Git(place.tree, {"log", "--format=%s"}), "first\n");
  Git(place.tree, {"fsck"});
  Git(place.tree, {"commit", "-qam", "by the job"});
  EXPECT_EQ(Git(place.tree, {"log", "--format=%s"}), "by the job\nfirst\n");
  // The files that are as committed need no second look: their stamps are in the index.
  EXPECT_EQ(Git(place.tree, {"diff-files", "--name-only"}), "");
}

TEST(Materialize, MakesFilesOfTheJobsUserAndKeepsTheTrustedOnes) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to give files to another user";
  Hostile hostile;
  RunPlace place(hostile.dir.Sub("run"), hostile.dir.Sub("cache"));
  WRIT_ASSERT_OK(place.Materialize(hostile.manifest, hostile.blobs, JobOwner{54321, 54322}));
  std::size_t count = 0;
  for (const auto& entry : fs::recursive_directory_iterator(place.tree)) {
    struct stat st {};
    ASSERT_EQ(::lstat(entry.path().c_str(), &st), 0);
    EXPECT_EQ(st.st_uid, 54321u) << entry.path();
    EXPECT_EQ(st.st_gid, 54322u) << entry.path();
    ++count;
  }
  EXPECT_GT(count, 8u);
  EXPECT_EQ(::geteuid(), 0u);
}

TEST(Materialize, RunsOfOneBaseAtOnceShareTheCache) {
  Hostile hostile;
  auto cache = ObjectCache::Open(hostile.dir.Sub("cache")).value();
  std::vector<std::string> codes(8);
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < codes.size(); ++i)
      threads.emplace_back([&, i] {
        std::string root = hostile.dir.Sub("run" + std::to_string(i));
        UniqueFd tree = OpenDirectory(hostile.dir.Sub("run" + std::to_string(i) + "/t")).value();
        UniqueFd trusted = OpenDirectory(hostile.dir.Sub("run" + std::to_string(i) + "/u")).value();
        auto done = Materialize({.manifest = &hostile.manifest,
                                 .blobs = hostile.blobs.Source(),
                                 .cache = cache.get(),
                                 .target = tree.get(),
                                 .trusted = trusted.get()});
        codes[i] = done ? "ok" : done.error().code;
      });
  }
  for (const std::string& code : codes) EXPECT_EQ(code, "ok");
  EXPECT_EQ(std::distance(fs::directory_iterator(hostile.dir.Sub("cache")), {}), 1);
}

TEST(Materialize, SubmodulesBecomeEmptyFoldersAndAFinding) {
  Hostile hostile;
  std::string repo = hostile.dir.path() + "/repo";
  std::string head = Git(repo, {"rev-parse", "HEAD"});
  head.pop_back();
  Git(repo, {"update-index", "--add", "--cacheinfo", "160000," + head + ",sub"});
  Git(repo, {"commit", "-qm", "with a submodule"});
  hostile.manifest = ManifestOfHead(repo, hostile.blobs);
  RunPlace place(hostile.dir.Sub("run"), hostile.dir.Sub("cache"));
  auto done = place.Materialize(hostile.manifest, hostile.blobs);
  WRIT_ASSERT_OK(done);
  EXPECT_TRUE(HasFinding(done->findings(), "workspace.submodule_not_carried", "sub"));
  EXPECT_TRUE(fs::is_empty(place.tree + "/sub"));
  WriteFileAt(place.tree + "/sub/file", "x");
  auto collected = place.Collect(*done);
  WRIT_ASSERT_OK(collected);
  EXPECT_TRUE(collected->diff.empty()) << collected->diff;
  EXPECT_TRUE(HasFinding(collected->findings, "workspace.submodule_not_carried", "sub"));
}

}  // namespace
}  // namespace writ::workspace::test
