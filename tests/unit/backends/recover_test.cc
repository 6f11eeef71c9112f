// What a session that is not on disk any more means to those who clean up after it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "support/places.h"
#include "writ/backends/job/private_dirs.h"
#include "writ/backends/process_backend.h"
#include "writ/base/file.h"
#include "writ/base/paths.h"

namespace writ::backends {
namespace {

class Recover : public ::testing::Test {
 protected:
  Recover() {
    std::string pattern = (std::filesystem::temp_directory_path() / "writ-recover-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    root_ = pattern;
    // Nobody has this uid: what runs under it would be ended.
    const auto uid =
        ::geteuid() == 0 ? 2'100'000'000u + static_cast<uid_t>(::getpid()) : ::getuid();
    identity_ = Identity{.uid = uid, .gid = ::geteuid() == 0 ? uid : ::getgid()};
  }
  ~Recover() override { std::filesystem::remove_all(root_); }

  Result<Recovered> Try(const std::string& session_dir) {
    auto backend = MakeProcessBackend({.launcher = writ::test::BinDir() + "/writ-launch"});
    return backend->Recover({"recover_" + std::to_string(::getpid()), session_dir, identity_, ""},
                            std::chrono::milliseconds(1000));
  }
  std::string root_;
  Identity identity_;
};

TEST_F(Recover, TakesASessionFolderThatIsNotThereAsGoneAndNotAsALeak) {  // L37, L43
  for (const char* missing : {"/job", "/s-1/job"}) {
    Result<Recovered> recovered = Try(root_ + missing);
    ASSERT_TRUE(recovered) << recovered.error().ToString();
    EXPECT_FALSE(recovered->outcome) << "nothing is known, so nothing is said (L17)";
    EXPECT_TRUE(recovered->dismantled.tree_dead_verified);
    EXPECT_TRUE(recovered->dismantled.leaks.empty());
    EXPECT_TRUE(recovered->dismantled.errors.empty());
  }
}

TEST_F(Recover, DoesNotCallASessionGoneThatItCannotLookInto) {  // L13, L43
  ASSERT_TRUE(std::ofstream(root_ + "/file"));
  Result<Recovered> below_a_file = Try(root_ + "/file/job");
  EXPECT_FALSE(below_a_file);
  ASSERT_EQ(::symlink("loop", (root_ + "/loop").c_str()), 0);
  EXPECT_FALSE(Try(root_ + "/loop"));
}

TEST_F(Recover, TakesPrivateDirectoriesThatSomebodyRemovedAsGone) {
  ASSERT_EQ(::mkdir((root_ + "/job").c_str(), 0700), 0);
  Result<UniqueFd> dir = OpenDirectory(root_ + "/job");
  ASSERT_TRUE(dir);
  EXPECT_TRUE(RemovePrivateDirs(dir->get()).empty());
  ASSERT_EQ(::rmdir((root_ + "/job").c_str()), 0);
  EXPECT_TRUE(RemovePrivateDirs(dir->get()).empty());
}

TEST_F(Recover, DoesNotCallPrivateDirectoriesGoneThatItCannotLookAt) {
  ASSERT_TRUE(std::ofstream(root_ + "/file"));
  UniqueFd no_directory(::open((root_ + "/file").c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(RemovePrivateDirs(no_directory.get()).size(), 2u);
}

}  // namespace
}  // namespace writ::backends
