// Images of trees, read by erofs-utils: what is in them is what was there.
#include "writ/backends/microvm/tree_image.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "writ/base/child.h"
#include "writ/base/unique_fd.h"

namespace writ::backends::microvm {
namespace {

namespace fs = std::filesystem;

class TreeImageTest : public testing::Test {
 protected:
  TreeImageTest() {
    std::string name = testing::TempDir() + "/tree-image-XXXXXX";
    base_ = ::mkdtemp(name.data());
    fs::create_directory(base_ + "/tree");
  }
  ~TreeImageTest() override { fs::remove_all(base_); }

  std::string At(const std::string& name) const { return base_ + "/tree/" + name; }
  void Write(const std::string& name, const std::string& bytes, mode_t mode = 0644) const {
    std::ofstream(At(name), std::ios::binary) << bytes;
    ::chmod(At(name).c_str(), mode);
  }
  static std::string Read(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  }
  Result<ImageCounts> Pack(const std::string& file = "image") {
    UniqueFd out(
        ::open((base_ + "/" + file).c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    return WriteTreeImage({{"workspace", base_ + "/tree"}}, {1000, 1000}, out.get());
  }
  // By another reader of the format than the kernel's: 0 where it finds nothing wrong.
  int Unpack() {
    SpawnOptions spawn;
    spawn.path = "/usr/bin/fsck.erofs";
    spawn.argv = {"fsck.erofs", "--extract=" + base_ + "/out", "--no-preserve-owner",
                  "--preserve-perms", base_ + "/image"};
    UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    spawn.fds = {{null.get(), 1}, {null.get(), 2}};
    auto child = Child::Spawn(spawn);
    auto status = child ? child->Wait(std::chrono::seconds(60)) : std::move(child).error();
    return status && *status ? (*status)->ShellCode() : -1;
  }
  std::string Out(const std::string& name) const { return base_ + "/out/workspace/" + name; }

  std::string base_;
};

TEST_F(TreeImageTest, HoldsFilesOfEveryLengthAndEveryKind) {
  std::string pattern;
  for (int i = 0; i < 70'000; ++i) pattern += static_cast<char>(i * 7 % 251);
  // Around the end of a block and of what is put behind an inode.
  const std::vector<std::size_t> sizes = {0,    1,    31,   64,   4031, 4032, 4033,
                                          4095, 4096, 4097, 8128, 8192, 8193, 69'999};
  for (std::size_t size : sizes) Write("f" + std::to_string(size), pattern.substr(0, size));
  Write("run", "#!/bin/sh\n", 0755);
  fs::create_directories(At("empty"));
  fs::create_directories(At("a/b/c"));
  Write("a/b/c/d", "deep");
  ::symlink("../else/where", At("link").c_str());
  ::symlink(std::string(4000, 'x').c_str(), At("long").c_str());
  auto counts = Pack();
  ASSERT_TRUE(counts) << counts.error().ToString();
  EXPECT_EQ(counts->entries, sizes.size() + 1 + 1 + 1 + 3 + 1 + 2);
  ASSERT_EQ(Unpack(), 0);
  for (std::size_t size : sizes)
    EXPECT_EQ(Read(Out("f" + std::to_string(size))), pattern.substr(0, size)) << size;
  EXPECT_EQ(Read(Out("a/b/c/d")), "deep");
  EXPECT_TRUE(fs::is_directory(Out("empty")));
  EXPECT_EQ(fs::read_symlink(Out("link")), "../else/where");
  EXPECT_EQ(fs::read_symlink(Out("long")), std::string(4000, 'x'));
  struct stat st {};
  ASSERT_EQ(::stat(Out("run").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0755u);
  ASSERT_EQ(::stat(Out("f1").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0644u);
}

TEST_F(TreeImageTest, HoldsTenThousandNamesInOneFolder) {
  const std::string tail(150, 'n');  // several hundred blocks of names
  for (int i = 0; i < 10'000; ++i) Write(std::to_string(i) + tail, std::to_string(i));
  auto counts = Pack();
  ASSERT_TRUE(counts) << counts.error().ToString();
  EXPECT_EQ(counts->entries, 10'001u);
  ASSERT_EQ(Unpack(), 0);
  std::size_t found = 0;
  for (const auto& entry : fs::directory_iterator(Out(""))) {
    const std::string name = entry.path().filename();
    EXPECT_EQ(Read(entry.path()) + tail, name);
    ++found;
  }
  EXPECT_EQ(found, 10'000u);
}

// What the upper layer has for a file that is gone; any user may make it.
TEST_F(TreeImageTest, HoldsTheMarkOfWhatIsGone) {
  ASSERT_EQ(::mknod(At("gone").c_str(), S_IFCHR, 0), 0);
  Write("kept", "kept");
  auto counts = Pack();
  ASSERT_TRUE(counts) << counts.error().ToString();
  EXPECT_EQ(counts->entries, 3u);
  if (::geteuid() != 0) return;  // erofs-utils makes devices as root alone
  ASSERT_EQ(Unpack(), 0);
  struct stat st {};
  ASSERT_EQ(::lstat(Out("gone").c_str(), &st), 0);
  EXPECT_TRUE(S_ISCHR(st.st_mode) && st.st_rdev == 0);
}

TEST_F(TreeImageTest, IsTheSameForTheSameTrees) {
  for (const char* name : {"one", "two", "three"}) Write(name, name);
  ASSERT_TRUE(Pack());
  ASSERT_TRUE(Pack("again"));
  EXPECT_EQ(Read(base_ + "/image"), Read(base_ + "/again"));
}

// Neither a part nor anything in it is followed out of the tree.
TEST_F(TreeImageTest, FollowsNothing) {
  Write("../secret", "what nobody packs");
  ::symlink("../secret", At("link").c_str());
  ASSERT_TRUE(Pack());
  EXPECT_EQ(Read(base_ + "/image").find("what nobody packs"), std::string::npos);
  ASSERT_EQ(Unpack(), 0);
  EXPECT_TRUE(fs::is_symlink(Out("link")));
  ::symlink(base_.c_str(), (base_ + "/part").c_str());
  UniqueFd out(::open((base_ + "/other").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  auto refused = WriteTreeImage({{"0", base_ + "/part"}}, {1000, 1000}, out.get());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "microvm.image_part");
}

}  // namespace
}  // namespace writ::backends::microvm
