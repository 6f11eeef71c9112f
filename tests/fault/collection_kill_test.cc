// A collection of blobs is killed at each of its steps: what it removed is in the admin chain, the
// next one ends it, and a blob that came back in between stays.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <functional>

#include "fault/support/elsewhere.h"
#include "writ/base/clock.h"
#include "writ/base/fault.h"
#include "writ/base/file.h"
#include "writ/base/unique_fd.h"
#include "writ/plane/init.h"
#include "writ/plane/plane.h"
#include "writ/protocol/digest.h"

namespace writ::plane {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view kBytes = "nobody names it";

// All work is done in children: a process reads its fault once.
class CollectionKill : public ::testing::TestWithParam<std::string_view> {
 protected:
  CollectionKill() {
    char name[] = "/tmp/writ-collection-XXXXXX";
    dir_ = ::mkdtemp(name);
  }
  ~CollectionKill() override { fs::remove_all(dir_); }

  // Runs `work` in a child; what it said is wrong (empty: nothing) and how it ended.
  std::string InChild(const std::function<std::string()>& work, int* status) {
    auto answer = MakePipe().value();
    const pid_t child = ::fork();
    if (child == 0) {
      (void)WriteAll(answer.write_end.get(), work());
      ::_exit(0);
    }
    answer.write_end.reset();
    std::string said = ReadAll(answer.read_end.get(), 1 << 16).value();
    EXPECT_EQ(::waitpid(child, status, 0), child);
    return said;
  }
  void ExpectGood(const std::function<std::string()>& work) {
    int status = 0;
    EXPECT_EQ(InChild(work, &status), "");
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  std::string Path() const { return dir_ + "/plane/blobs/" + hash_.substr(0, 2) + "/" + hash_; }
  Result<std::unique_ptr<Plane>> Open() {
    return Plane::Open({.dir = dir_, .config = std::nullopt, .at_open = AtOpen::kChangeNothing},
                       clock_);
  }
  // A blob that nobody has used for longer than its term; then a collection that is killed.
  void KillACollection() {
    ExpectGood([this]() -> std::string {
      if (!Init(dir_)) return "no plane";
      auto plane = Open();
      if (!plane || !(*plane)->PutBlob(kBytes)) return "no blob";
      fs::last_write_time(Path(), fs::file_time_type::clock::now() - std::chrono::hours(24 * 100));
      return "";
    });
    int status = 0;
    const std::string said = InChild(
        [this]() -> std::string {
          ::setenv("WRIT_FAULT", (std::string(GetParam()) + ":kill").c_str(), 1);
          auto plane = Open();
          if (!plane) return "not opened";
          return (*plane)->CollectGarbage(GarbageMode::kCollect) ? "it ended" : "it failed";
        },
        &status);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << said;
  }
  static bool Says(Plane& plane, const std::string& text) {
    bool found = false;
    (void)plane.Export({}, [&](std::string_view line) -> Status {
      found = found || line.find(text) != std::string_view::npos;
      return {};
    });
    return found;
  }
  SystemClock clock_;
  std::string dir_;
  const std::string hash_ = protocol::Sha256(kBytes).ToHex();
};

TEST_P(CollectionKill, IsEndedByTheNextOne) {
  KillACollection();
  ExpectGood([this]() -> std::string {
    auto plane = Open();
    if (!plane) return plane.error().ToString();
    if (!Says(**plane, "\"blobsRemoved\":[\"" + hash_)) return "the deletion is not recorded";
    if (!(*plane)->CollectGarbage(GarbageMode::kCollect)) return "the next one fails";
    if (fs::exists(Path())) return "the blob is there still";
    if (Says(**plane, "blobsKept")) return "a blob is said to be kept";
    auto again = (*plane)->CollectGarbage(GarbageMode::kCollect);
    return again && again->blobs == 0 ? "" : "there is more to do";
  });
}

TEST_P(CollectionKill, LeavesABlobThatCameBackInBetween) {
  KillACollection();
  ExpectGood([this]() -> std::string {
    auto plane = Open();
    if (!plane) return plane.error().ToString();
    if (!(*plane)->PutBlob(kBytes)) return "it cannot be uploaded again";
    if (!(*plane)->CollectGarbage(GarbageMode::kCollect)) return "the next one fails";
    if (!fs::exists(Path())) return "the blob is lost";
    return Says(**plane, "\"blobsKept\":[\"" + hash_) ? "" : "the chain does not say that it stays";
  });
}

std::string NameOf(const ::testing::TestParamInfo<std::string_view>& info) {
  std::string name(info.param);
  for (char& c : name)
    if (c == '.' || c == '-') c = '_';
  return name;
}

INSTANTIATE_TEST_SUITE_P(EveryStep, CollectionKill, ::testing::ValuesIn(test::CollectionPoints()),
                         NameOf);

}  // namespace
}  // namespace writ::plane
