#include "writ/workspace/checkout_cache.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "checkout_content.h"
#include "overlay_harness.h"
#include "writ/base/file.h"

namespace writ::workspace::test {
namespace {
namespace fs = std::filesystem;

// A checkout of one file, and what was asked of it.
class OneFile final : public CheckoutContent {
 public:
  Result<CheckoutFacts> Fill(int tree) override {
    ++filled;
    if (during_fill) during_fill(tree);
    UniqueFd fd(::openat(tree, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    WRIT_TRY(WriteAll(fd.get(), "content"));
    return CheckoutFacts{.files = 1, .bytes = 7, .disk_bytes = disk_bytes, .submodules = {"s\xff"}};
  }
  Result<CheckoutFacts> Verify(int tree) override {
    ++verified;
    UniqueFd fd(::openat(tree, "file", O_RDONLY | O_CLOEXEC));
    auto bytes = fd ? ReadAll(fd.get(), 100) : Result<std::string>(std::string());
    if (!bytes || *bytes != "content")
      return Error{.kind = ErrorKind::kIntegrity, .code = "checkout.damaged", .message = "bad"};
    return CheckoutFacts{.files = 1, .bytes = 7, .disk_bytes = disk_bytes, .submodules = {"s\xff"}};
  }
  std::function<void(int)> during_fill;
  std::uint64_t disk_bytes = 4096;
  std::atomic<int> filled = 0, verified = 0;
};

CheckoutKey Key(const std::string& bundle, const std::string& commit = "c") {
  return {.bundle = protocol::Sha256(bundle), .base_ref = commit, .objects_directory = "/objects"};
}

class CheckoutCacheTest : public ::testing::Test {
 protected:
  std::unique_ptr<CheckoutCache> Open(CheckoutCacheLimits limits = {}) {
    return CheckoutCache::Open(path_, limits).value();
  }
  // Entries, without locks and the cache's own files.
  std::size_t Entries() const {
    std::size_t entries = 0;
    for (const auto& entry : fs::directory_iterator(path_))
      entries += entry.is_directory() && entry.path().filename().string()[0] != '.';
    return entries;
  }
  bool Has(const std::string& prefix) const {
    for (const auto& entry : fs::directory_iterator(path_))
      if (entry.path().filename().string().starts_with(prefix)) return true;
    return false;
  }
  TempDir dir_;
  std::string path_ = dir_.path() + "/checkouts";
  OneFile content_;
};

TEST_F(CheckoutCacheTest, FillsOnceAndSharesAcrossOrderlyRestarts) {
  for (int i = 0; i < 3; ++i) {
    auto cache = Open();
    auto found = cache->Get(Key("b"), content_);
    WRIT_ASSERT_OK(found);
    EXPECT_EQ(found->was_cached, i > 0);
    EXPECT_EQ(found->lease->tree(), cache->TreePath(Key("b")));
    EXPECT_EQ(ReadFileAt(found->lease->tree() + "/file"), "content");
    EXPECT_EQ(found->lease->facts().submodules, std::vector<std::string>{"s\xff"});
  }
  EXPECT_EQ(content_.filled, 1);
  EXPECT_EQ(content_.verified, 0);
}

// No requester learns from a run's speed what another one's bundle brought here.
TEST_F(CheckoutCacheTest, SharesNothingBetweenBundlesOrCommits) {
  auto cache = Open();
  for (const CheckoutKey& key : {Key("b"), Key("other"), Key("b", "d")}) {
    auto found = cache->Get(key, content_);
    WRIT_ASSERT_OK(found);
    EXPECT_FALSE(found->was_cached);
  }
  EXPECT_EQ(content_.filled, 3);
}

TEST_F(CheckoutCacheTest, OneOfManyAtOnceFillsAndTheOthersWait) {
  auto cache = Open();
  std::vector<std::jthread> threads;
  std::atomic<int> shared = 0;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&] {
      auto found = cache->Get(Key("b"), content_);
      if (found && ReadFileAt(found->lease->tree() + "/file") == "content") ++shared;
    });
  threads.clear();
  EXPECT_EQ(shared, 8);
  EXPECT_EQ(content_.filled, 1);
}

TEST_F(CheckoutCacheTest, AKilledFillLeavesNothingThatCouldBeUsed) {  // L39
  Pipe filling = MakePipe().value();
  pid_t child = ::fork();
  if (child == 0) {
    auto cache = Open();
    content_.during_fill = [&](int tree) {
      UniqueFd half(::openat(tree, "half", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
      (void)!::write(filling.write_end.get(), "x", 1);
      for (;;) ::pause();
    };
    (void)cache->Get(Key("b"), content_);
    ::_exit(0);
  }
  char byte = 0;
  ASSERT_EQ(::read(filling.read_end.get(), &byte, 1), 1);
  {
    auto beside = Open();  // a start beside it leaves a fill that is alive alone
    EXPECT_TRUE(Has(".fill-"));
  }
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  auto cache = Open();
  EXPECT_FALSE(Has(".fill-"));
  EXPECT_EQ(Entries(), 0u);
  auto found = cache->Get(Key("b"), content_);
  WRIT_ASSERT_OK(found);
  EXPECT_FALSE(fs::exists(found->lease->tree() + "/half"));
}

TEST_F(CheckoutCacheTest, VerifiesAfterAnUncleanStopAndMakesADamagedCheckoutAgain) {  // L39
  WRIT_ASSERT_OK(Open()->Get(Key("sound"), content_));
  std::string damaged = Open()->TreePath(Key("damaged"));
  WRIT_ASSERT_OK(Open()->Get(Key("damaged"), content_));
  EXPECT_TRUE(InChild([&] {
    auto cache = Open();
    ::_exit(0);  // as killed: no orderly end
    return false;
  }));
  WriteFileAt(damaged + "/file", "contemt");
  auto cache = Open();
  auto sound = cache->Get(Key("sound"), content_);
  WRIT_ASSERT_OK(sound);
  EXPECT_TRUE(sound->was_cached);
  EXPECT_EQ(content_.verified, 1);
  auto again = cache->Get(Key("damaged"), content_);
  WRIT_ASSERT_OK(again);
  EXPECT_FALSE(again->was_cached);
  EXPECT_EQ(ReadFileAt(damaged + "/file"), "content");
  WRIT_ASSERT_OK(cache->Get(Key("sound"), content_));
  EXPECT_EQ(content_.verified, 2) << "once for each stop";
}

TEST_F(CheckoutCacheTest, LooksAtWhatAJobOfOurUidCouldReachWhileItRunsAndOnceAfterwards) {
  auto cache = Open();
  WRIT_ASSERT_OK(cache->Get(Key("b"), content_));
  {
    const CheckoutExposure job = cache->Expose();
    EXPECT_EQ(cache->Exposed().now, 1u);
    for (int i = 1; i <= 2; ++i) {
      WRIT_ASSERT_OK(cache->Get(Key("b"), content_));
      EXPECT_EQ(content_.verified, i);
    }
    WRIT_ASSERT_OK(cache->Get(Key("made meanwhile"), content_));
  }
  EXPECT_EQ(cache->Exposed().begun, 1u);
  for (const char* key : {"b", "b", "made meanwhile", "made meanwhile"})
    WRIT_ASSERT_OK(cache->Get(Key(key), content_));
  EXPECT_EQ(content_.verified, 4) << "each once";
  cache.reset();
  WRIT_ASSERT_OK(Open()->Get(Key("b"), content_));
  EXPECT_EQ(content_.verified, 4) << "an orderly end keeps it";
}

TEST_F(CheckoutCacheTest, AJobOfOurUidThatWasNotSeenToEndCountsForTheNextProcessToo) {
  {
    auto cache = Open();
    WRIT_ASSERT_OK(cache->Get(Key("b"), content_));
    cache->Expose().StayForGood();
    EXPECT_EQ(cache->Exposed().now, 1u);
  }
  WRIT_ASSERT_OK(Open()->Get(Key("b"), content_));
  EXPECT_EQ(content_.verified, 1);
}

TEST_F(CheckoutCacheTest, RemovesTheLongestUnusedAndNeverOneInUse) {
  auto cache = Open({.max_bytes = 1 << 20, .max_entries = 2});
  auto held = cache->Get(Key("held"), content_).value().lease;
  WRIT_ASSERT_OK(cache->Get(Key("old"), content_));
  WRIT_ASSERT_OK(cache->Get(Key("new"), content_));
  EXPECT_EQ(Entries(), 2u);
  EXPECT_TRUE(fs::exists(held->tree() + "/file"));
  EXPECT_FALSE(fs::exists(cache->TreePath(Key("old"))));
  EXPECT_TRUE(fs::exists(cache->TreePath(Key("new"))));
  EXPECT_FALSE(Has(".gone-"));
}

TEST_F(CheckoutCacheTest, HoldsItsBoundInBytesAsSoonAsWhatIsInUseAllows) {
  auto cache = Open({.max_bytes = 10'000, .max_entries = 100});
  content_.disk_bytes = 8192;
  auto first = cache->Get(Key("first"), content_).value().lease;
  auto second = cache->Get(Key("second"), content_).value().lease;
  EXPECT_EQ(Entries(), 2u);
  first.reset();
  cache->Trim();
  EXPECT_EQ(Entries(), 1u);
  EXPECT_TRUE(fs::exists(second->tree()));
}

// An image of it, for machines (BaseImages).
TEST_F(CheckoutCacheTest, CountsWhatIsKeptBesideACheckoutAndRemovesItWithIt) {
  auto cache = Open({.max_bytes = 100'000, .max_entries = 100});
  WRIT_ASSERT_OK(cache->Get(Key("first"), content_));
  WRIT_ASSERT_OK(cache->Get(Key("second"), content_));
  const std::string kept = cache->KeptPath(Key("first"));
  EXPECT_EQ(fs::path(kept).parent_path(), fs::path(cache->TreePath(Key("first"))).parent_path());
  fs::create_directory(kept);
  std::ofstream(kept + "/image") << std::string(200'000, 'x');
  cache->Trim();
  EXPECT_FALSE(fs::exists(kept));
  EXPECT_FALSE(fs::exists(cache->TreePath(Key("first"))));
  EXPECT_TRUE(fs::exists(cache->TreePath(Key("second"))));
}

TEST_F(CheckoutCacheTest, AFailedFillIsToldAndTriedAgain) {
  class Failing final : public CheckoutContent {
   public:
    Result<CheckoutFacts> Fill(int) override {
      return Error{.kind = ErrorKind::kInvalid, .code = "workspace.hostile_tree", .message = "no"};
    }
    Result<CheckoutFacts> Verify(int) override { return CheckoutFacts{}; }
  } failing;
  auto cache = Open();
  auto refused = cache->Get(Key("b"), failing);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, "workspace.hostile_tree");
  EXPECT_FALSE(Has(".fill-"));
  WRIT_ASSERT_OK(cache->Get(Key("b"), content_));
}

}  // namespace
}  // namespace writ::workspace::test
