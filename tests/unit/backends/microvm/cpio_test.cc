#include "writ/backends/microvm/cpio.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "writ/base/child.h"
#include "writ/base/file.h"

namespace writ::test {
namespace {

namespace fs = std::filesystem;
using backends::microvm::Cpio;

std::string Archive() {
  Cpio cpio;
  cpio.Directory("dir", 0755);
  cpio.File("dir/file", 0640, "content");
  cpio.File("init", 0755, "#!");
  return cpio.Take();
}

TEST(Cpio, IsTheSameForTheSameEntries) {
  EXPECT_EQ(Archive(), Archive());
  EXPECT_EQ(Archive().size() % 512, 0u);
}

// By a reader that is not ours: busybox, which every guest image for tests is made of.
TEST(Cpio, IsReadByOthers) {
  if (::access("/bin/busybox", X_OK) != 0) GTEST_SKIP() << "there is no busybox to read it";
  std::string dir = "/tmp/writ-cpio-XXXXXX";
  ASSERT_NE(::mkdtemp(dir.data()), nullptr);
  std::ofstream(dir + "/archive", std::ios::binary) << Archive();
  SpawnOptions spawn;
  spawn.path = "/bin/busybox";
  spawn.argv = {"busybox", "cpio", "-i", "-d", "-F", dir + "/archive"};
  spawn.cwd = dir;
  auto child = Child::Spawn(spawn);
  ASSERT_TRUE(child);
  auto status = child->Wait(std::chrono::seconds(30));
  ASSERT_TRUE(status && *status);
  EXPECT_EQ((*status)->ShellCode(), 0);
  auto bytes = ReadFile(dir + "/dir/file", 100);
  ASSERT_TRUE(bytes);
  EXPECT_EQ(*bytes, "content");
  struct stat st {};
  ASSERT_EQ(::stat((dir + "/dir/file").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0640u);
  fs::remove_all(dir);
}

}  // namespace
}  // namespace writ::test
