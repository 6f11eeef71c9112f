// The power cut of support/power_cut.h takes back what was not flushed and nothing else: what the
// other tests here conclude from it rests on that.
#include "fault/support/power_cut.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <functional>

#include "writ/base/file.h"

namespace writ::test {
namespace {

namespace fs = std::filesystem;

class PowerCut : public ::testing::Test {
 protected:
  PowerCut() {
    std::string pattern = (fs::temp_directory_path() / "writ-power-XXXXXX").string();
    dir_ = mkdtemp(pattern.data());
    Put("old", "before");
  }
  ~PowerCut() override { fs::remove_all(dir_); }

  // What a process writes and is then cut off from.
  void Cut(const std::function<bool(int dir)>& work) {
    const pid_t worker = fork();
    if (worker == 0) {
      WritPowerCutBelow(dir_.c_str());
      UniqueFd dir(open(dir_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      if (work(dir.get())) (void)::kill(::getpid(), SIGKILL);
      ::_exit(1);
    }
    int status = 0;
    ASSERT_EQ(waitpid(worker, &status, 0), worker);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  }
  void Put(const std::string& name, const std::string& bytes) {
    UniqueFd file(open((dir_ + "/" + name).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    ASSERT_TRUE(WriteAll(file.get(), bytes));
  }
  // "-": not there.
  std::string Get(const std::string& name) {
    auto text = ReadFile(dir_ + "/" + name, 1 << 16);
    return text ? *text : "-";
  }
  std::string dir_;
};

UniqueFd At(int dir, const char* name, int flags) {
  return UniqueFd(openat(dir, name, flags | O_CLOEXEC, 0600));
}

TEST_F(PowerCut, TakesBackBytesThatWereNotFlushed) {
  Cut([](int dir) {
    UniqueFd file = At(dir, "old", O_RDWR);
    return pwrite(file.get(), "XY", 2, 1) == 2 && ftruncate(file.get(), 4) == 0 &&
           lseek(file.get(), 0, SEEK_END) == 4 && WriteAll(file.get(), "more");
  });
  EXPECT_EQ(Get("old"), "before");
}

TEST_F(PowerCut, LeavesBytesThatWereFlushedAndNotThoseAfterThem) {
  Cut([](int dir) {
    UniqueFd file = At(dir, "old", O_RDWR);
    return pwrite(file.get(), "XY", 2, 1) == 2 && fdatasync(file.get()) == 0 &&
           pwrite(file.get(), "ZZZZZZZZ", 8, 0) == 8;
  });
  EXPECT_EQ(Get("old"), "bXYore");
}

TEST_F(PowerCut, TakesANewFileWhoseFolderWasNotFlushed) {
  Cut([](int dir) {
    UniqueFd lost = At(dir, "lost", O_WRONLY | O_CREAT);
    const bool wrote = WriteAll(lost.get(), "bytes") && fsync(lost.get()) == 0;
    return wrote;
  });
  EXPECT_EQ(Get("lost"), "-");
  Cut([](int dir) {
    UniqueFd kept = At(dir, "kept", O_WRONLY | O_CREAT);
    return WriteAll(kept.get(), "bytes") && fsync(kept.get()) == 0 && fsync(dir) == 0;
  });
  EXPECT_EQ(Get("kept"), "bytes");
}

TEST_F(PowerCut, TakesBackARenameWhoseFolderWasNotFlushed) {
  auto replace = [](int dir) {
    UniqueFd fresh = At(dir, "fresh", O_WRONLY | O_CREAT);
    return WriteAll(fresh.get(), "after") && fsync(fresh.get()) == 0 && fsync(dir) == 0 &&
           renameat(dir, "fresh", dir, "old") == 0;
  };
  Cut(replace);
  EXPECT_EQ(Get("old"), "before");
  EXPECT_EQ(Get("fresh"), "after");
  Cut([&](int dir) { return replace(dir) && fsync(dir) == 0; });
  EXPECT_EQ(Get("old"), "after");
}

TEST_F(PowerCut, LosesNothingOfAFileThatIsReplacedAtomically) {  // L39
  Cut([](int dir) { return static_cast<bool>(WriteFileAtomic(dir, "old", "after", 0600)); });
  EXPECT_EQ(Get("old"), "after");
  Cut([](int dir) { return static_cast<bool>(CreateFileAtomic(dir, "new", "made", 0600)); });
  EXPECT_EQ(Get("new"), "made");
}

}  // namespace
}  // namespace writ::test
