// L12 L14: whatever a job leaves in its tree, the host reads it safely and says what it left out.
#include "writ/workspace/collect.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "harness.h"

namespace writ::workspace::test {
namespace {
namespace fs = std::filesystem;

// A run on a small base; each test plays the job.
struct Job {
  explicit Job(std::map<std::string, std::string> files = {{"a", "one\n"}, {"d/f", "x\n"}})
      : blobs(dir.Sub("blobs")), place(dir.Sub("run"), dir.Sub("cache")) {
    MakeRepository(dir.path() + "/repo", files);
    manifest = ManifestOfHead(dir.path() + "/repo", blobs);
    auto done = place.Materialize(manifest, blobs);
    EXPECT_TRUE(done.has_value());
    materialized.emplace(std::move(*done));
  }
  std::string At(const std::string& path) const { return place.tree + "/" + path; }
  Result<Collected> Collect(CollectOptions options = {}) {
    return place.Collect(*materialized, std::move(options));
  }
  // git apply of the diff on a clean checkout gives this tree.
  std::map<std::string, std::string> Applied(const std::string& diff) {
    std::string copy = dir.path() + "/copy";
    Git(dir.path(), {"clone", "-q", dir.path() + "/repo", copy});
    if (!diff.empty()) Git(copy, {"apply", "--binary", "-"}, diff);
    return Snapshot(copy);
  }
  TempDir dir;
  BlobFolder blobs;
  RunPlace place;
  protocol::Manifest manifest;
  std::optional<Materialized> materialized;
};

TEST(Collect, OfAnUntouchedTreeIsEmpty) {
  Job job;
  auto collected = job.Collect();
  WRIT_ASSERT_OK(collected);
  EXPECT_TRUE(collected->diff.empty());
  EXPECT_TRUE(collected->delta.empty());
  EXPECT_TRUE(collected->changed.empty());
  EXPECT_TRUE(collected->findings.empty());
}

TEST(Collect, NeverOpensSpecialFilesButReportsThem) {  // L14
  Job job;
  ASSERT_EQ(::mkfifo(job.At("fifo").c_str(), 0644), 0);
  ASSERT_EQ(::unlink(job.At("a").c_str()), 0);
  ASSERT_EQ(::mkfifo(job.At("a").c_str(), 0644), 0);  // in a base file's place
  UniqueFd server(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  UniqueFd tree(::open(job.place.tree.c_str(), O_PATH | O_CLOEXEC));
  std::string name = "/proc/self/fd/" + std::to_string(tree.get()) + "/socket";
  name.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(server.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  auto collected = job.Collect();
  WRIT_ASSERT_OK(collected);
  for (const char* path : {"fifo", "a", "socket"})
    EXPECT_TRUE(HasFinding(collected->findings, "workspace.special_file", path)) << path;
  ASSERT_EQ(collected->changed.size(), 1u);
  EXPECT_EQ(collected->changed[0].path, "a");
  EXPECT_TRUE(collected->changed[0].content.is_zero());
}

TEST(Collect, CarriesLinksAsLinksWhereverTheyLead) {  // L13 L14
  Job job;
  ASSERT_EQ(::symlink("/etc/passwd", job.At("leak").c_str()), 0);
  fs::remove_all(job.At("d"));
  ASSERT_EQ(::symlink("/etc", job.At("d").c_str()), 0);  // a folder of the base is now a way out
  auto collected = job.Collect();
  WRIT_ASSERT_OK(collected);
  EXPECT_EQ(collected->diff.find("root:"), std::string::npos);
  EXPECT_EQ(job.Applied(collected->diff), Snapshot(job.place.tree));
  for (const char* path : {"leak", "d"})
    EXPECT_TRUE(HasFinding(collected->findings, "workspace.link_outside", path)) << path;
}

TEST(Collect, ALinkThatStaysInTheTreeIsNoFinding) {  // L14
  Job job;
  ASSERT_EQ(::symlink("../a", job.At("d/beside").c_str()), 0);
  auto collected = job.Collect();
  WRIT_ASSERT_OK(collected);
  EXPECT_FALSE(HasFinding(collected->findings, "workspace.link_outside", "d/beside"));
}

TEST(Collect, SurvivesHardLinksSparseFilesAndOddNames) {  // L14
  Job job;
  ASSERT_EQ(::link(job.At("a").c_str(), job.At("hard").c_str()), 0);
  UniqueFd sparse(::open(job.At("sparse").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  ASSERT_EQ(::ftruncate(sparse.get(), 3 << 20), 0);
  for (const char* name : {"new\nline", "\xff\xfe", "A", "trailing ", "q\"u", "tab\t", "-x"})
    WriteFileAt(job.At(name), name);
  auto collected = job.Collect();
  WRIT_ASSERT_OK(collected);
  EXPECT_EQ(job.Applied(collected->diff), Snapshot(job.place.tree));
}

TEST(Collect, EndsInAClearFailureAtEachLimit) {  // L14
  Job job;
  UniqueFd huge(::open(job.At("huge").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  ASSERT_EQ(::ftruncate(huge.get(), off_t{1} << 40), 0);
  auto collected = job.Collect();
  ASSERT_FALSE(collected.has_value());
  EXPECT_EQ(collected.error().code, "workspace.output_limit");
  EXPECT_NE(collected.error().message.find("huge"), std::string::npos);
  ASSERT_EQ(::unlink(job.At("huge").c_str()), 0);
  for (int i = 0; i < 20; ++i) WriteFileAt(job.At("n" + std::to_string(i)), "text\n");
  CollectOptions few;
  few.limits.max_changed_files = 10;
  EXPECT_EQ(job.Collect(few).error().code, "workspace.output_limit");
  CollectOptions small;
  small.limits.max_diff_bytes = 200;
  EXPECT_EQ(job.Collect(small).error().code, "workspace.output_limit");
  CollectOptions entries;
  entries.limits.max_entries = 5;
  EXPECT_EQ(job.Collect(entries).error().code, "workspace.output_limit");
}

// What this process has read from files so far.
std::uint64_t BytesRead() {
  std::ifstream io("/proc/self/io");
  std::string word;
  std::uint64_t bytes = 0;
  io >> word >> bytes;
  return bytes;
}

// A file that costs its job nothing costs its runner nothing either.
TEST(Collect, JudgesALongFileBeforeReadingIt) {  // L14
  Job job;
  for (const char* name : {"long", "also"}) {
    UniqueFd file(::open(job.At(name).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    ASSERT_EQ(::ftruncate(file.get(), off_t{510} << 20), 0);
    const std::uint64_t before = BytesRead();
    auto collected = job.Collect();
    ASSERT_FALSE(collected.has_value());
    EXPECT_EQ(collected.error().code, "workspace.output_limit");
    EXPECT_NE(collected.error().message.find(std::to_string(off_t{510} << 20)), std::string::npos);
    EXPECT_LT(BytesRead() - before, 16u << 20);
  }
}

TEST(Collect, FailsClearlyOnATreeThatIsDeeperThanAPathCanBe) {  // L14
  Job job;
  UniqueFd at(::open(job.place.tree.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (int i = 0; i < 3000; ++i) {
    ASSERT_EQ(::mkdirat(at.get(), "dd", 0755), 0);
    at.reset(::openat(at.get(), "dd", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ASSERT_TRUE(at.valid());
  }
  auto collected = job.Collect();
  ASSERT_FALSE(collected.has_value());
  EXPECT_EQ(collected.error().code, "workspace.output_limit");
}

TEST(Collect, RunsNothingThatTheJobPlantedAndReportsIt) {  // L12
  Job job;
  std::string marker = job.dir.path() + "/marker";
  std::string script = "#!/bin/sh\ntouch " + marker + "\n";
  WriteFileAt(job.At("run.sh"), script, 0755);
  WriteFileAt(job.At(".git/config"), "[core]\n\tfsmonitor = " + job.At("run.sh") +
                                         "\n\thooksPath = .\n[filter \"x\"]\n" +
                                         "\tclean = " + job.At("run.sh") +
                                         "\n[diff]\n\texternal = " + job.At("run.sh") + "\n");
  WriteFileAt(job.At(".gitattributes"), "* filter=x diff=x\n");
  WriteFileAt(job.At(".git/info/attributes"), "* filter=x\n");
  WriteFileAt(job.At(".git/hooks/post-index-change"), script, 0755);
  WriteFileAt(job.At("a"), "changed\n");
  auto collected = job.Collect();
  WRIT_ASSERT_OK(collected);
  EXPECT_FALSE(fs::exists(marker));
  for (const char* code : {"workspace.git_config_changed", "workspace.attributes_changed",
                           "workspace.git_attributes_planted", "workspace.git_hook_planted"})
    EXPECT_TRUE(HasFinding(collected->findings, code)) << code;
  EXPECT_EQ(job.Applied(collected->diff), Snapshot(job.place.tree));
}

TEST(Collect, IsTheSameWhateverTheJobMadeOfItsRepository) {  // L12
  for (int way = 0; way < 4; ++way) {
    Job job;
    WriteFileAt(job.At("a"), "changed\n");
    if (way == 1) {
      Git(job.place.tree, {"commit", "-qam", "hide it"});
    } else if (way > 1) {
      fs::remove_all(job.At(".git"));
      if (way == 2) WriteFileAt(job.At(".git"), "gitdir: /etc\n");
      if (way == 3) fs::create_symlink("/etc", job.At(".git"));
    }
    auto collected = job.Collect();
    WRIT_ASSERT_OK(collected);
    ASSERT_EQ(collected->changed.size(), 1u) << way;
    EXPECT_EQ(collected->findings.empty(), way == 0);
    EXPECT_EQ(HasFinding(collected->findings, "workspace.commits_made"), way == 1);
    EXPECT_EQ(HasFinding(collected->findings, "workspace.git_replaced"), way > 1);
  }
}

TEST(Collect, ReportsNestedRepositoriesWithTheirFileCount) {  // L12
  Job job;
  MakeRepository(job.At("nested"), {{"x", "1"}, {"y", "2"}});
  WriteFileAt(job.At("d/.git/HEAD"), "ref: refs/heads/main\n");  // around files of the base
  WriteFileAt(job.At("d/f"), "changed\n");
  auto collected = job.Collect();
  WRIT_ASSERT_OK(collected);
  EXPECT_TRUE(HasFinding(collected->findings, "workspace.nested_repository", "nested"));
  EXPECT_TRUE(HasFinding(collected->findings, "workspace.nested_repository", "d/.git"));
  ASSERT_EQ(collected->changed.size(), 1u);
  EXPECT_EQ(collected->changed[0].path, "d/f") << "a planted .git hides nothing of the base";
}

TEST(Collect, LeavesIgnoredNewFilesOutAndCountsThem) {
  Job job(std::map<std::string, std::string>{{"tracked.o", "1\n"}});
  WriteFileAt(job.At(".gitignore"), "*.o\nbuild/\n");
  WriteFileAt(job.At("new.o"), "x");
  WriteFileAt(job.At("build/deep/out"), "x");
  WriteFileAt(job.At("tracked.o"), "2\n");
  WriteFileAt(job.At("kept.c"), "x\n");
  auto collected = job.Collect();
  WRIT_ASSERT_OK(collected);
  EXPECT_EQ(collected->ignored_entries, 2u);
  EXPECT_TRUE(HasFinding(collected->findings, "workspace.ignored_files"));
  EXPECT_TRUE(HasFinding(collected->findings, "workspace.ignore_rules_changed", ".gitignore"));
  ASSERT_EQ(collected->changed.size(), 3u);
  EXPECT_EQ(collected->changed[1].path, "kept.c");
  EXPECT_EQ(collected->changed[2].path, "tracked.o");
}

TEST(Collect, ReportsNamesThatGitRefuses) {  // L12
  Job job;
  WriteFileAt(job.At(".GIT/config"), "x");
  WriteFileAt(job.At("d/git~1"), "x");
  auto collected = job.Collect();
  WRIT_ASSERT_OK(collected);
  EXPECT_TRUE(HasFinding(collected->findings, "workspace.unsafe_name", ".GIT"));
  EXPECT_TRUE(HasFinding(collected->findings, "workspace.unsafe_name", "d/git~1"));
  EXPECT_TRUE(collected->diff.empty());
}

TEST(Collect, FindsSecretsInNewOldAndRemovedContent) {
  Job job({{"had", "s3cret\n"}, {"a", "one\n"}});
  auto holds = [](std::string_view bytes) {
    return bytes.find("s3cret") != std::string_view::npos;
  };
  WriteFileAt(job.At("a"), "now s3cret\n");
  ASSERT_EQ(::unlink(job.At("had").c_str()), 0);
  CollectOptions options;
  options.holds_secret = holds;
  auto collected = job.Collect(options);
  WRIT_ASSERT_OK(collected);
  EXPECT_TRUE(collected->secret_found);
  EXPECT_TRUE(HasFinding(collected->findings, "workspace.secret_in_output", "a"));
  EXPECT_TRUE(HasFinding(collected->findings, "workspace.secret_in_output", "had"));
}

TEST(Collect, DoesNotReadFilesOfAnotherOwner) {  // L13
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to own files as another user";
  Job job;
  WriteFileAt(job.At("theirs"), "not the job's\n");
  CollectOptions options;
  options.owner = 54321;
  auto collected = job.Collect(options);
  WRIT_ASSERT_OK(collected);
  EXPECT_TRUE(HasFinding(collected->findings, "workspace.foreign_owner", "theirs"));
  EXPECT_TRUE(collected->diff.empty());
}

TEST(Collect, SeesAChangeOfTheSameSizeRightAfterMaterializing) {
  for (int i = 0; i < 20; ++i) {
    Job job;
    UniqueFd fd(::open(job.At("a").c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_EQ(::pwrite(fd.get(), "ONE\n", 4, 0), 4);
    struct stat st {};
    ASSERT_EQ(::fstat(fd.get(), &st), 0);
    timespec back[2] = {{st.st_mtim.tv_sec - 10, 0}, {st.st_mtim.tv_sec - 10, 0}};
    ASSERT_EQ(::futimens(fd.get(), back), 0);  // and hides it
    auto collected = job.Collect();
    WRIT_ASSERT_OK(collected);
    ASSERT_EQ(collected->changed.size(), 1u);
  }
}

TEST(Collect, ReadsWhatTheJobMadeUnreadable) {  // L14
  Job job;
  WriteFileAt(job.At("hidden/file"), "x\n", 0);
  ASSERT_EQ(::chmod(job.At("hidden").c_str(), 0), 0);
  auto collected = job.Collect();
  WRIT_ASSERT_OK(collected);
  ASSERT_EQ(collected->changed.size(), 1u);
}

}  // namespace
}  // namespace writ::workspace::test
