// The disk meter counts blocks wherever they are, each once, and follows nothing outside (L13).
#include "writ/backends/linux/disk_usage.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::backends {
namespace {

constexpr std::uint64_t kMiB = 1u << 20;

class DiskMeterTest : public testing::Test {
 protected:
  DiskMeterTest() {
    std::string pattern = "/var/tmp/writ-meter-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    base_ = pattern;
    std::filesystem::create_directories(base_ + "/tree");
  }
  ~DiskMeterTest() override { std::filesystem::remove_all(base_); }

  UniqueFd Make(const std::string& name, std::size_t bytes) {
    UniqueFd fd(::open((base_ + "/" + name).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    EXPECT_TRUE(WriteAll(fd.get(), std::string(bytes, 'x')));
    return fd;
  }
  DiskUsage Measure(const DiskLimits& limits = {}, const std::vector<pid_t>& members = {}) {
    auto tree = OpenDirectory(base_ + "/tree");
    std::vector<UniqueFd> trees;
    trees.push_back(std::move(*tree));
    return DiskMeter(std::move(trees)).Measure(members, limits);
  }
  std::string base_;
};

TEST_F(DiskMeterTest, CountsBlocksAndEachLinkedFileOnce) {
  Make("tree/file", 2 * kMiB);
  std::filesystem::create_hard_link(base_ + "/tree/file", base_ + "/tree/again");
  UniqueFd sparse = Make("tree/sparse", 0);
  ASSERT_EQ(::ftruncate(sparse.get(), 1ll << 33), 0);
  DiskUsage usage = Measure();
  EXPECT_GE(usage.bytes, 2 * kMiB);
  EXPECT_LT(usage.bytes, 3 * kMiB);
  EXPECT_EQ(usage.files, 2u);
  EXPECT_FALSE(usage.out_of_sight);
}

TEST_F(DiskMeterTest, FollowsNoLinkOutOfTheTree) {  // L13
  Make("outside", 4 * kMiB);
  std::filesystem::create_symlink(base_ + "/outside", base_ + "/tree/link");
  std::filesystem::create_directory_symlink("/usr", base_ + "/tree/usr");
  DiskUsage usage = Measure();
  EXPECT_LT(usage.bytes, kMiB);
  EXPECT_EQ(usage.files, 2u);
}

TEST_F(DiskMeterTest, GoesDeeperThanItMayHoldDirectoriesOpen) {
  std::string deep = base_ + "/tree";
  for (int depth = 0; depth < 400; ++depth) {
    deep += "/d";
    ASSERT_EQ(::mkdir(deep.c_str(), 0700), 0);
    ASSERT_EQ(::mkdir((deep + "/e").c_str(), 0700), 0);
  }
  DiskUsage usage = Measure();
  EXPECT_EQ(usage.files, 800u);
  EXPECT_FALSE(usage.out_of_sight);
}

TEST_F(DiskMeterTest, CountsANamelessFileOfAMemberOnce) {
  UniqueFd fd = Make("tree/gone", 2 * kMiB);
  UniqueFd again = std::move(*fd.Duplicate());
  ASSERT_EQ(::unlink((base_ + "/tree/gone").c_str()), 0);
  EXPECT_EQ(Measure().files, 0u);
  DiskUsage usage = Measure({}, {::getpid()});
  EXPECT_GE(usage.bytes, 2 * kMiB);
  EXPECT_LT(usage.bytes, 4 * kMiB);
}

TEST_F(DiskMeterTest, StopsLookingOnceALimitIsPassed) {
  for (int i = 0; i < 50; ++i) Make("tree/f" + std::to_string(i), 0);
  EXPECT_EQ(Measure({.bytes = 0, .files = 10}).files, 11u);
}

}  // namespace
}  // namespace writ::backends
