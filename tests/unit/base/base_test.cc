#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "writ/base/child.h"
#include "writ/base/clock.h"
#include "writ/base/encoding.h"
#include "writ/base/file.h"
#include "writ/base/folder.h"
#include "writ/base/paths.h"
#include "writ/base/secret.h"

namespace writ {
namespace {

class TempDir {
 public:
  TempDir() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "writ-base-test-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(Rfc3339, FormatsMillisecondsAndReadsThemBack) {
  WallTime t{1782104748993};
  std::string text = FormatRfc3339(t);
  EXPECT_EQ(text, "2026-06-22T05:05:48.993Z");
  EXPECT_EQ(ParseRfc3339(text)->unix_ms, t.unix_ms);
  EXPECT_EQ(ParseRfc3339("2026-06-22T07:05:48.993+02:00")->unix_ms, t.unix_ms);
  EXPECT_EQ(ParseRfc3339("1969-12-31T23:59:59.999Z")->unix_ms, -1);
  EXPECT_EQ(FormatRfc3339({-1}), "1969-12-31T23:59:59.999Z");
}

TEST(Rfc3339, RefusesWhatIsNotATime) {
  for (const char* bad :
       {"", "2026-06-22", "2026-02-30T00:00:00Z", "2026-06-22T24:00:00Z", "2026-06-22T05:05:48",
        "2026-06-22T05:05:48.Z", "2026-06-22T05:05:48.993Zx", " 2026-06-22T05:05:48Z"})
    EXPECT_FALSE(ParseRfc3339(bad)) << bad;
}

TEST(Encoding, AgreesWithRfc4648AndRefusesNonCanonicalEnds) {
  EXPECT_EQ(Base64Encode("foobar"), "Zm9vYmFy");
  EXPECT_EQ(Base64Encode("foob"), "Zm9vYg==");
  EXPECT_EQ(Base64Decode("Zm9vYg=="), "foob");
  EXPECT_FALSE(Base64Decode("Zm9vYh=="));  // end bits set
  EXPECT_FALSE(Base64Decode("Zm9v Yg=="));
  EXPECT_FALSE(Base64Decode("Zm9vYg="));
  EXPECT_EQ(Base64UrlDecode(Base64UrlEncode(std::string("\xff\xfe\x00", 3))),
            std::string("\xff\xfe\x00", 3));
  EXPECT_EQ(HexDecode("00ff"), std::string("\x00\xff", 2));
  EXPECT_FALSE(HexDecode("0"));
  EXPECT_FALSE(HexDecode("0g"));
}

// L13
TEST(PathsBeneath, RefusesSymbolicLinksAndParents) {
  TempDir dir;
  std::filesystem::create_directories(dir.path() + "/tree/sub");
  std::ofstream(dir.path() + "/outside") << "secret";
  std::filesystem::create_symlink("../outside", dir.path() + "/tree/link");
  std::filesystem::create_symlink("..", dir.path() + "/tree/up");
  std::ofstream(dir.path() + "/tree/sub/file") << "x";
  auto root = OpenDirectory(dir.path() + "/tree");
  ASSERT_TRUE(root);
  EXPECT_TRUE(OpenBeneath(root->get(), "sub/file", O_RDONLY));
  for (const char* bad :
       {"link", "up/outside", "../outside", "/etc/passwd", "sub/../../outside", ""})
    EXPECT_FALSE(OpenBeneath(root->get(), bad, O_RDONLY)) << bad;
}

// L13
TEST(PathsBeneath, RemovesHostileTreesWithoutLeavingThem) {
  TempDir dir;
  std::string tree = dir.path() + "/tree";
  std::filesystem::create_directories(tree);
  std::ofstream(dir.path() + "/keep") << "kept";
  std::filesystem::create_directory_symlink(dir.path(), tree + "/loop");
  int fd = ::open(tree.c_str(), O_RDONLY | O_DIRECTORY);
  for (int i = 0; i < 1200; ++i) {  // deeper than the remover's open levels and than PATH_MAX
    ASSERT_EQ(::mkdirat(fd, "deeper", 0700), 0);
    int next = ::openat(fd, "deeper", O_RDONLY | O_DIRECTORY);
    ::close(fd);
    fd = next;
  }
  ::close(fd);
  std::filesystem::create_directories(tree + "/locked/inner");
  ::chmod((tree + "/locked").c_str(), 0);
  auto parent = OpenDirectory(dir.path());
  ASSERT_TRUE(parent);
  auto removed = RemoveTreeBeneath(parent->get(), "tree");
  EXPECT_TRUE(removed) << removed.error().ToString();
  EXPECT_FALSE(std::filesystem::exists(tree));
  EXPECT_TRUE(std::filesystem::exists(dir.path() + "/keep"));
  EXPECT_FALSE(RemoveTreeBeneath(parent->get(), ".."));
}

// L13, L14: what a removal that was killed has left must not stop those that come after it.
TEST(PathsBeneath, RemovesADeepTreeBesideTheLeftoversOfAnEarlierRemoval) {
  TempDir dir;
  const std::string left = dir.path() + "/.writ-rm-" + std::to_string(::getpid()) + "-0";
  std::filesystem::create_directories(left + "/full");
  std::string deep = dir.path() + "/tree";
  for (int i = 0; i < 300; ++i) deep += "/d";
  std::filesystem::create_directories(deep);
  auto parent = OpenDirectory(dir.path());
  ASSERT_TRUE(parent);
  auto removed = RemoveTreeBeneath(parent->get(), "tree");
  EXPECT_TRUE(removed) << removed.error().ToString();
  EXPECT_FALSE(std::filesystem::exists(dir.path() + "/tree"));
  EXPECT_TRUE(std::filesystem::exists(left + "/full"));
}

TEST(SafeRelativePath, IsTheProtocolsRule) {
  for (const char* good : {"a", "a/b", "dir/f0.txt", ".env", "a..b", "\xff"})
    EXPECT_TRUE(IsSafeRelativePath(good)) << good;
  for (const char* bad : {"", "/a", "a//b", "a/", "../a", "a/..", "a\\b", "c:x", "./a"})
    EXPECT_FALSE(IsSafeRelativePath(bad)) << bad;
}

// L39
TEST(AtomicFile, ReplacesWholeAndCreatesOnce) {
  TempDir dir;
  auto d = OpenDirectory(dir.path());
  ASSERT_TRUE(d);
  ASSERT_TRUE(WriteFileAtomic(d->get(), "f", "one", 0600));
  ASSERT_TRUE(WriteFileAtomic(d->get(), "f", "two", 0600));
  EXPECT_EQ(*ReadFile(dir.path() + "/f", 100), "two");
  auto again = CreateFileAtomic(d->get(), "f", "three", 0600);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().kind, ErrorKind::kConflict);
  EXPECT_EQ(*ReadFile(dir.path() + "/f", 100), "two");
  EXPECT_FALSE(ReadFile(dir.path() + "/f", 2));
  struct stat st {};
  ASSERT_EQ(::stat((dir.path() + "/f").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600U);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()), {}),
            1);  // no temp file left
}

// L17
TEST(ChildProcess, ReportsExitAndSignalAndNothingElse) {
  SpawnOptions options;
  options.path = "/bin/sh";
  options.argv = {"sh", "-c", "exit 7"};
  auto child = Child::Spawn(options);
  ASSERT_TRUE(child);
  auto status = child->Wait(std::nullopt);
  ASSERT_TRUE(status && *status);
  EXPECT_EQ((*status)->ShellCode(), 7);
  options.argv = {"sh", "-c", "kill -9 $$"};
  child = Child::Spawn(options);
  ASSERT_TRUE(child);
  status = child->Wait(std::nullopt);
  ASSERT_TRUE(status && *status);
  EXPECT_TRUE((*status)->signalled);
  EXPECT_EQ((*status)->ShellCode(), 137);
}

// L20
TEST(ChildProcess, GetsOnlyTheNamedDescriptorsAndEnvironment) {
  auto pipe = MakePipe();
  ASSERT_TRUE(pipe);
  int leaked = ::open("/dev/null", O_RDONLY);  // without O_CLOEXEC, as a careless library does
  SpawnOptions options;
  options.path = "/bin/sh";
  options.argv = {"sh", "-c", "ls /proc/self/fd | tr '\\n' ' ' >&5; env >&5"};
  options.env = {"ONLY=this"};
  options.fds = {{pipe->write_end.get(), 5}};
  auto child = Child::Spawn(options);
  ASSERT_TRUE(child);
  pipe->write_end.reset();
  auto text = ReadAll(pipe->read_end.get(), 4096);
  ::close(leaked);
  ASSERT_TRUE(text);
  EXPECT_EQ(text->find(" " + std::to_string(leaked) + " ") == std::string::npos || leaked <= 5,
            true)
      << *text;
  EXPECT_NE(text->find("ONLY=this"), std::string::npos);
  EXPECT_EQ(text->find("HOME="), std::string::npos);
}

TEST(ChildProcess, IsKilledWhenItsOwnerGoes) {
  UniqueFd pidfd;
  {
    SpawnOptions options;
    options.path = "/bin/sleep";
    options.argv = {"sleep", "1000"};
    auto child = Child::Spawn(options);
    ASSERT_TRUE(child);
    pidfd.reset(::fcntl(child->pidfd(), F_DUPFD_CLOEXEC, 3));
    pollfd alive{pidfd.get(), POLLIN, 0};
    ASSERT_EQ(::poll(&alive, 1, 0), 0);
  }
  pollfd ended{pidfd.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&ended, 1, 0), 1);
}

TEST(Secrets, AreMovedNotCopied) {
  std::string raw = "hunter2";
  Secret a = Secret::Consume(raw);
  EXPECT_TRUE(raw.empty());
  Secret b = std::move(a);
  EXPECT_EQ(b.Reveal(), "hunter2");
  EXPECT_TRUE(a.empty());  // NOLINT: the moved-from state is the point
  static_assert(!std::is_copy_constructible_v<Secret>);
}

TEST(Folder, NamesAreSortedAndWholeWhateverIsRemovedMeanwhile) {
  std::string pattern = (std::filesystem::temp_directory_path() / "writ-folder-XXXXXX").string();
  const std::string dir = ::mkdtemp(pattern.data());
  for (const char* name : {"b", "a", ".hidden", "..."}) std::ofstream(dir + "/" + name) << name;
  auto handle = OpenDirectory(dir);
  ASSERT_TRUE(handle);
  const std::vector<std::string> all{"...", ".hidden", "a", "b"};
  EXPECT_EQ(NamesIn(handle->get()).value(), all);
  EXPECT_EQ(NamesIn(handle->get()).value(), all) << "the handle's own position";
  std::filesystem::remove(dir + "/a");
  EXPECT_EQ(NamesIn(handle->get())->size(), 3u);
  std::filesystem::remove_all(dir);
  EXPECT_TRUE(NamesIn(handle->get()).value().empty()) << "a folder that was removed holds nothing";
  EXPECT_EQ(NamesIn(-1, "image.view").error().code, "image.view");
}

}  // namespace
}  // namespace writ
