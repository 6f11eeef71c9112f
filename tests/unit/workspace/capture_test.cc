#include "writ/workspace/capture.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "harness.h"

namespace writ::workspace::test {
namespace {
namespace fs = std::filesystem;

struct Checkout {
  Checkout() : repo(dir.path() + "/repo") {
    MakeRepository(repo, {{"a", "one\n"}, {"d/f", "x\n"}, {".gitignore", "*.log\nignored/\n"}});
  }
  Result<Captured> Capture(std::vector<std::string> allow = {}, const std::string& path = {}) {
    return workspace::Capture({.repository = path.empty() ? repo : path,
                               .allow_untracked = std::move(allow),
                               .cache_directory = dir.path() + "/captured"});
  }
  std::string Code(const std::string& path = {}) {
    auto captured = Capture({}, path);
    if (captured) return "ok";
    EXPECT_FALSE(captured.error().message.empty());
    return captured.error().code;
  }
  std::string Hint(const std::string& path) {
    auto captured = Capture({}, path);
    return captured ? "" : captured.error().hint;
  }
  static std::string DiffOf(const Captured& captured) {
    for (const CapturedBlob& blob : captured.blobs)
      if (blob.kind == CapturedBlob::Kind::kDirtyDiff) return blob.content;
    return {};
  }
  TempDir dir;
  std::string repo;
};

TEST(Capture, OnTheSameBaseMovesOnlyTheChange) {
  Checkout checkout;
  auto first = checkout.Capture();
  WRIT_ASSERT_OK(first);
  EXPECT_FALSE(first->summary.bundle_was_cached);
  EXPECT_FALSE(first->manifest.dirty_diff_hash.has_value());
  WriteFileAt(checkout.repo + "/a", "two\n");
  auto second = checkout.Capture();
  WRIT_ASSERT_OK(second);
  EXPECT_TRUE(second->summary.bundle_was_cached);
  EXPECT_EQ(second->manifest.bundle_hash, first->manifest.bundle_hash);
  EXPECT_TRUE(second->manifest.dirty_diff_hash.has_value());
  // A cache that was lost gives the same bytes again.
  fs::remove_all(checkout.dir.path() + "/captured");
  auto third = checkout.Capture();
  WRIT_ASSERT_OK(third);
  EXPECT_EQ(third->manifest.bundle_hash, first->manifest.bundle_hash);
}

TEST(Capture, RefusesEachUnfitRepositoryWithACodeOfItsOwn) {
  Checkout checkout;
  const std::string& root = checkout.dir.path();
  EXPECT_EQ(checkout.Code(root + "/repo/d"), "ok") << "a folder below the root will do";
  EXPECT_EQ(checkout.Code(checkout.dir.Sub("plain")), "workspace.not_a_repository");
  EXPECT_EQ(checkout.Code(root + "/nowhere"), "workspace.unreadable");
  Git(root, {"clone", "-q", "--bare", "repo", "bare.git"});
  EXPECT_EQ(checkout.Code(root + "/bare.git"), "workspace.bare");
  CommitAll(checkout.repo, "second");
  Git(root, {"clone", "-q", "--depth=1", "file://" + checkout.repo, "shallow"});
  EXPECT_EQ(checkout.Code(root + "/shallow"), "workspace.shallow");
  Git(checkout.dir.Sub("unborn"), {"init", "-q"});
  EXPECT_EQ(checkout.Code(root + "/unborn"), "workspace.no_head");
  EXPECT_NE(checkout.Hint(root + "/unborn").find("first commit"), std::string::npos);
  Git(root, {"clone", "-q", "repo", "elsewhere"});
  WriteFileAt(root + "/elsewhere/.git/HEAD", "ref: refs/heads/gone\n");
  EXPECT_EQ(checkout.Code(root + "/elsewhere"), "workspace.no_head");
  EXPECT_NE(checkout.Hint(root + "/elsewhere").find("switch to one"), std::string::npos);
  fs::remove(root + "/elsewhere/.git/HEAD");
  EXPECT_EQ(checkout.Code(root + "/elsewhere"), "workspace.no_head");
  EXPECT_NE(checkout.Hint(root + "/elsewhere").find("put HEAD back"), std::string::npos);
  Git(checkout.dir.Sub("sha256"), {"init", "-q", "--object-format=sha256"});
  CommitAll(root + "/sha256", "x");
  EXPECT_EQ(checkout.Code(root + "/sha256"), "workspace.sha256");
  Git(checkout.repo, {"config", "uploadpack.allowFilter", "true"});
  Git(root, {"clone", "-q", "--filter=blob:none", "file://" + checkout.repo, "partial"});
  EXPECT_EQ(checkout.Code(root + "/partial"), "workspace.partial_clone");
}

TEST(Capture, ReadsLinkedWorktrees) {
  Checkout checkout;
  std::string linked = checkout.dir.path() + "/linked";
  Git(checkout.repo, {"worktree", "add", "-q", linked});
  WriteFileAt(linked + "/a", "in the worktree\n");
  auto captured = checkout.Capture({}, linked);
  WRIT_ASSERT_OK(captured);
  EXPECT_NE(Checkout::DiffOf(*captured).find("+in the worktree"), std::string::npos);
}

void GiveTo(uid_t uid, const std::string& folder) {
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    ASSERT_EQ(::lchown(entry.path().c_str(), uid, uid), 0);
  ASSERT_EQ(::lchown(folder.c_str(), uid, uid), 0);
}

TEST(Capture, RefusesTheRepositoryOfAnotherUserUnlessItIsNamedSafe) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can make a repository of another user";
  constexpr uid_t kOwner = 54321, kReader = 54322;
  Checkout checkout;
  ASSERT_EQ(::chmod(checkout.dir.path().c_str(), 0755), 0);
  // A single part that is another's is enough.
  ASSERT_EQ(::lchown((checkout.repo + "/.git").c_str(), kOwner, kOwner), 0);
  auto by_root = checkout.Capture();
  WRIT_ASSERT_OK(by_root);
  ASSERT_TRUE(HasFinding(by_root->findings, "workspace.other_owner"));
  EXPECT_NE(by_root->findings[0].detail.find("54321"), std::string::npos);

  GiveTo(kOwner, checkout.repo);
  TempDir home;
  GiveTo(kReader, home.path());
  const std::string old_home = std::getenv("HOME") != nullptr ? std::getenv("HOME") : "/root";
  ::setenv("HOME", home.path().c_str(), 1);
  auto code_of = [&](const std::string& safe) {
    WriteFileAt(home.path() + "/.gitconfig", safe);
    EXPECT_EQ(::setresuid(kReader, kReader, 0), 0);  // HOME counts for who is no set-uid program
    auto captured = workspace::Capture(
        {.repository = checkout.repo, .cache_directory = home.path() + "/cache"});
    EXPECT_EQ(::setresuid(0, 0, 0), 0);
    return captured ? std::string("ok") : captured.error().code;
  };
  const std::string head = "[safe]\n\tdirectory = ";
  EXPECT_EQ(code_of(""), "workspace.other_owner");
  EXPECT_EQ(code_of(head + "/elsewhere\n"), "workspace.other_owner");
  EXPECT_EQ(code_of(head + checkout.repo + "\n"), "ok");
  EXPECT_EQ(code_of(head + "*\n"), "ok");
  EXPECT_EQ(code_of(head + "*\n\tdirectory =\n"), "workspace.other_owner");
  // What the repository says of itself counts for nothing.
  WriteFileAt(checkout.repo + "/.git/config", head + "*\n");
  EXPECT_EQ(code_of(""), "workspace.other_owner");
  ::setenv("HOME", old_home.c_str(), 1);
}

TEST(Capture, TellsAnIndexThatIsNotReadFromADamagedOne) {
  Checkout checkout;
  Git(checkout.repo, {"update-index", "--split-index"});
  EXPECT_EQ(checkout.Code(), "workspace.index_unsupported");
  Git(checkout.repo, {"update-index", "--no-split-index"});
  EXPECT_EQ(checkout.Code(), "ok") << "as its hint says";
  Git(checkout.repo, {"sparse-checkout", "init", "--cone", "--sparse-index"});
  EXPECT_EQ(checkout.Code(), "workspace.index_unsupported");
  Git(checkout.repo, {"sparse-checkout", "init", "--no-sparse-index"});
  EXPECT_EQ(checkout.Code(), "ok") << "as its hint says";
  WriteFileAt(checkout.repo + "/.git/index", "garbage that is no index of git's at all");
  EXPECT_EQ(checkout.Code(), "workspace.index_damaged");
}

TEST(Capture, KeepsDeniedFilesOutAndSaysSo) {
  Checkout checkout;
  WriteFileAt(checkout.repo + "/server.pem", "committed key\n");
  CommitAll(checkout.repo, "a key");
  WriteFileAt(checkout.repo + "/server.pem", "NEW-KEY\n");
  WriteFileAt(checkout.repo + "/.env", "TOKEN=1\n");
  WriteFileAt(checkout.repo + "/id_rsa.d/inner", "x\n");
  WriteFileAt(checkout.repo + "/notes.txt", "notes\n");
  auto captured = checkout.Capture({"*"});
  WRIT_ASSERT_OK(captured);
  for (const CapturedBlob& blob : captured->blobs) {
    EXPECT_EQ(blob.content.find("NEW-KEY"), std::string::npos);
    EXPECT_EQ(blob.content.find("TOKEN"), std::string::npos);
  }
  EXPECT_EQ(captured->manifest.denied_paths,
            (std::vector<std::string>{".env", "id_rsa.d/inner", "server.pem"}));
  ASSERT_EQ(captured->manifest.untracked_files.size(), 1u);
  EXPECT_EQ(captured->manifest.untracked_files[0].path.text(), "notes.txt");
  EXPECT_TRUE(HasFinding(captured->findings, "workspace.denied_change_left_out", "server.pem"));
  EXPECT_TRUE(HasFinding(captured->findings, "workspace.denied_in_history", "server.pem"));
}

TEST(Capture, TellsOfAnAllowedPatternThatNoFileMatches) {
  Checkout checkout;
  WriteFileAt(checkout.repo + "/notes.txt", "notes\n");
  auto captured = checkout.Capture({"*.txt", "../notes.txt", "note.txt"});
  WRIT_ASSERT_OK(captured);
  ASSERT_EQ(captured->manifest.untracked_files.size(), 1u);
  EXPECT_TRUE(HasFinding(captured->findings, "workspace.pattern_unused", "../notes.txt"));
  EXPECT_TRUE(HasFinding(captured->findings, "workspace.pattern_unused", "note.txt"));
  EXPECT_FALSE(HasFinding(captured->findings, "workspace.pattern_unused", "*.txt"));
}

TEST(Capture, TakesUntrackedFilesOnlyByTheAllowList) {
  Checkout checkout;
  for (const char* path : {"n.txt", "deep/er/m.txt", "x.log", "ignored/named.txt", "other.c"})
    WriteFileAt(checkout.repo + "/" + path, std::string(path) + "\n");
  auto none = checkout.Capture();
  WRIT_ASSERT_OK(none);
  EXPECT_TRUE(none->manifest.untracked_files.empty());
  auto some = checkout.Capture({"*.txt", "*.log", "ignored/named.txt"});
  WRIT_ASSERT_OK(some);
  std::vector<std::string> paths;
  for (const auto& file : some->manifest.untracked_files) paths.push_back(file.path.text());
  EXPECT_EQ(paths, (std::vector<std::string>{"deep/er/m.txt", "ignored/named.txt", "n.txt"}));
}

TEST(Capture, RunsNoFilterHookOrMonitorOfTheRepository) {  // L12
  Checkout checkout;
  std::string marker = checkout.dir.path() + "/marker";
  WriteFileAt(checkout.dir.path() + "/evil.sh", "#!/bin/sh\ntouch " + marker + "\ncat\n", 0755);
  std::string evil = checkout.dir.path() + "/evil.sh";
  WriteFileAt(checkout.repo + "/.git/hooks/post-index-change", "#!/bin/sh\n" + evil, 0755);
  for (const char* key : {"core.fsmonitor", "filter.x.clean", "filter.x.process", "diff.external",
                          "diff.x.textconv", "core.hooksPath"})
    Git(checkout.repo, {"config", key, evil});
  WriteFileAt(checkout.repo + "/.git/info/attributes", "* filter=x diff=x\n");
  WriteFileAt(checkout.repo + "/a", "dirty\n");
  WRIT_ASSERT_OK(checkout.Capture({"*"}));
  EXPECT_FALSE(fs::exists(marker));
}

TEST(Capture, HasAWordForGitLfs) {
  Checkout checkout;
  std::string content = "the large content\n";
  std::string pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" +
                        protocol::Sha256(content).ToHex() + "\nsize " +
                        std::to_string(content.size()) + "\n";
  WriteFileAt(checkout.repo + "/.gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n");
  WriteFileAt(checkout.repo + "/big.bin", pointer);
  CommitAll(checkout.repo, "with lfs");
  WriteFileAt(checkout.repo + "/big.bin", content);  // as a checkout with LFS has it
  auto captured = checkout.Capture();
  WRIT_ASSERT_OK(captured);
  EXPECT_FALSE(captured->manifest.dirty_diff_hash.has_value());
  EXPECT_TRUE(HasFinding(captured->findings, "workspace.lfs_pointers"));
  WriteFileAt(checkout.repo + "/big.bin", "something else\n");
  EXPECT_EQ(checkout.Code(), "workspace.lfs_modified");
}

TEST(Capture, NamesFilesThatItCannotRead) {
  if (::geteuid() == 0) GTEST_SKIP() << "root can read every file";
  Checkout checkout;
  WriteFileAt(checkout.repo + "/a", "changed\n", 0);
  EXPECT_EQ(checkout.Code(), "workspace.unreadable");
}

TEST(Capture, LeavesSubmodulesAsTheyAreCommitted) {
  Checkout checkout;
  MakeRepository(checkout.dir.path() + "/lib", {{"l", "1\n"}});
  Git(checkout.repo, {"-c", "protocol.file.allow=always", "submodule", "add", "-q",
                      checkout.dir.path() + "/lib", "lib"});
  CommitAll(checkout.repo, "with a submodule");
  WriteFileAt(checkout.repo + "/lib/l", "2\n");
  auto captured = checkout.Capture({"*"});
  WRIT_ASSERT_OK(captured);
  EXPECT_TRUE(HasFinding(captured->findings, "workspace.submodule_not_carried", "lib"));
  EXPECT_FALSE(captured->manifest.dirty_diff_hash.has_value());
}

TEST(Capture, AgreesWithGitOnStagedRemovedAndConflictedFiles) {
  Checkout checkout;
  Git(checkout.repo, {"rm", "-q", "--cached", "a"});  // gone from the index, still on disk
  WriteFileAt(checkout.repo + "/staged", "s\n");
  Git(checkout.repo, {"add", "staged"});
  WriteFileAt(checkout.repo + "/intent", "i\n");
  Git(checkout.repo, {"add", "-N", "intent"});
  Git(checkout.repo, {"update-index", "--assume-unchanged", "d/f"});
  WriteFileAt(checkout.repo + "/d/f", "not to be seen\n");
  auto captured = checkout.Capture();
  WRIT_ASSERT_OK(captured);
  EXPECT_EQ(Checkout::DiffOf(*captured),
            Git(checkout.repo, {"diff", "--binary", "--no-renames", "HEAD"}));
}

}  // namespace
}  // namespace writ::workspace::test
