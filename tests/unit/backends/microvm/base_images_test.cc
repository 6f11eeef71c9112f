// The image of a base: made once, by whoever comes first, and never believed where it was changed.
#include "base_images.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "writ/protocol/digest.h"

namespace writ::backends {
namespace {

namespace fs = std::filesystem;

std::string Read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

class BaseImagesTest : public testing::Test {
 protected:
  BaseImagesTest() {
    std::string name = testing::TempDir() + "/base-images-XXXXXX";
    base_ = ::mkdtemp(name.data());
    fs::create_directories(base_ + "/tree/dir");
    fs::create_directory(base_ + "/objects");
    for (int i = 0; i < 20; ++i)
      std::ofstream(base_ + "/tree/dir/" + std::to_string(i)) << std::string(5'000, 'x') << i;
    std::ofstream(base_ + "/objects/pack") << "pack";
    mount_.lower = base_ + "/tree";
    mount_.kept = base_ + "/kept";
    mount_.kept_trees = {base_ + "/objects"};
  }
  ~BaseImagesTest() override { fs::remove_all(base_); }

  static bool IsWhole(const std::string& path) {
    return path.find("base-" + protocol::Sha256(Read(path)).ToHex() + ".erofs") !=
           std::string::npos;
  }

  std::string base_;
  WorkspaceMount mount_;
};

// Counted, not timed.
TEST_F(BaseImagesTest, PacksABaseOnceAndNothingForTheNextRun) {
  BaseImages images;
  auto first = images.Get(mount_);
  ASSERT_TRUE(first) << first.error().ToString();
  EXPECT_TRUE(first->made);
  EXPECT_EQ(first->counts.entries, 1u + 1 + 20 + 1 + 1);  // workspace, dir, its files; 0, pack
  auto second = images.Get(mount_);
  ASSERT_TRUE(second);
  EXPECT_FALSE(second->made);
  EXPECT_EQ(second->counts.entries, 0u);
  EXPECT_EQ(second->path, first->path);
  auto after_a_start = BaseImages().Get(mount_);
  ASSERT_TRUE(after_a_start);
  EXPECT_FALSE(after_a_start->made);
  struct stat st {};
  ASSERT_EQ(::stat(first->path.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0444u);
  ASSERT_EQ(::stat(mount_.kept.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0711u);
  EXPECT_TRUE(IsWhole(first->path));
}

TEST_F(BaseImagesTest, AreMadeOnceWhereManyWantThemAtOnce) {
  std::atomic<int> made = 0;
  std::atomic<int> failed = 0;
  {
    std::vector<std::jthread> runs;
    for (int i = 0; i < 8; ++i)
      runs.emplace_back([&] {
        BaseImages of_a_process;  // each with nothing in its memory
        auto image = of_a_process.Get(mount_);
        if (!image) ++failed;
        if (image && image->made) ++made;
      });
  }
  EXPECT_EQ(made, 1);
  EXPECT_EQ(failed, 0);
}

TEST_F(BaseImagesTest, MakeADamagedOneAgain) {
  BaseImages images;
  const std::string path = images.Get(mount_)->path;
  const std::string whole = Read(path);
  const std::vector<std::function<void()>> damages = {
      [&] {
        ::chmod(path.c_str(), 0644);
        std::fstream(path, std::ios::in | std::ios::out).seekp(5'000) << "damage";
        ::chmod(path.c_str(), 0444);
      },
      [&] {
        ::chmod(path.c_str(), 0644);
        fs::resize_file(path, 4096);
        ::chmod(path.c_str(), 0444);
      },
      [&] { ::chmod(path.c_str(), 0666); },
      [&] {
        std::ofstream(base_ + "/elsewhere") << whole;
        fs::remove(path);
        fs::create_symlink(base_ + "/elsewhere", path);
      },
      [&] {
        fs::remove(path);
        fs::create_directory(path);
      },
  };
  for (std::size_t i = 0; i < damages.size(); ++i) {
    damages[i]();
    auto again = images.Get(mount_);
    ASSERT_TRUE(again) << i << again.error().ToString();
    EXPECT_TRUE(again->made) << i;
    EXPECT_EQ(Read(again->path), whole) << i;
    damages[i]();
    auto by_another = BaseImages().Get(mount_);
    ASSERT_TRUE(by_another) << i << by_another.error().ToString();
    EXPECT_TRUE(by_another->made) << i;
    EXPECT_TRUE(IsWhole(by_another->path)) << i;
    (void)images.Get(mount_);
  }
}

// Its times changed, as anybody with the runner's own uid can do by name: looked at, and believed.
TEST_F(BaseImagesTest, AreReadAgainWhereTheyMayBeOthers) {
  BaseImages images;
  const std::string path = images.Get(mount_)->path;
  fs::last_write_time(path, fs::file_time_type::clock::now());
  auto same = images.Get(mount_);
  ASSERT_TRUE(same);
  EXPECT_FALSE(same->made);
}

// Killed in the middle of it: what is half made has no name that anybody uses.
TEST_F(BaseImagesTest, TakeNothingThatIsHalfMade) {
  fs::create_directory(mount_.kept);
  ::chmod(mount_.kept.c_str(), 0711);
  std::ofstream(mount_.kept + "/base.half") << "half";
  auto image = BaseImages().Get(mount_);
  ASSERT_TRUE(image) << image.error().ToString();
  EXPECT_TRUE(image->made);
  EXPECT_FALSE(fs::exists(mount_.kept + "/base.half"));
}

TEST_F(BaseImagesTest, RefuseAFolderThatOthersMayWrite) {
  fs::create_directory(mount_.kept);
  ::chmod(mount_.kept.c_str(), 0733);
  auto open = BaseImages().Get(mount_);
  ASSERT_FALSE(open);
  EXPECT_EQ(open.error().code, "microvm.base_folder");
  fs::remove(mount_.kept);
  fs::create_directory_symlink(base_ + "/objects", mount_.kept);
  auto link = BaseImages().Get(mount_);
  ASSERT_FALSE(link);
  EXPECT_FALSE(fs::exists(base_ + "/objects/base.lock"));
}

// A tree that cannot be packed leaves nothing.
TEST_F(BaseImagesTest, LeaveNothingWhereTheTreeIsNotThere) {
  mount_.lower = base_ + "/missing";
  ASSERT_FALSE(BaseImages().Get(mount_));
  for (const auto& entry : fs::directory_iterator(mount_.kept))
    EXPECT_EQ(entry.path().filename(), "base.lock");
}

}  // namespace
}  // namespace writ::backends
