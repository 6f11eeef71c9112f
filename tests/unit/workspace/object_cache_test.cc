#include "writ/workspace/object_cache.h"

#include <sys/stat.h>
#include <utime.h>

#include <filesystem>

#include "harness.h"

namespace writ::workspace::test {
namespace {
namespace fs = std::filesystem;

struct Filled {
  Filled() : blobs(dir.Sub("blobs")) {
    MakeRepository(dir.path() + "/repo", {{"a", std::string(5000, 'a') + "\n"}, {"b", "b\n"}});
    manifest = ManifestOfHead(dir.path() + "/repo", blobs);
    Run();
  }
  // Materializes with a cache opened anew; whether it was a hit.
  bool Run() {
    RunPlace place(dir.Sub("run" + std::to_string(number++)), dir.Sub("cache"));
    auto done = place.Materialize(manifest, blobs);
    EXPECT_TRUE(done.has_value()) << Explain(done.error());
    EXPECT_EQ(ReadFileAt(place.tree + "/b"), "b\n");
    return done && done->cache_hit();
  }
  std::string Pack(const std::string& ending) {
    for (const auto& entry : fs::recursive_directory_iterator(dir.Sub("cache")))
      if (entry.path().string().ends_with(ending)) return entry.path();
    return {};
  }
  TempDir dir;
  BlobFolder blobs;
  protocol::Manifest manifest;
  int number = 0;
};

TEST(ObjectCache, ServesASecondRunWithoutTheBundle) {
  Filled filled;
  ASSERT_EQ(::unlink(filled.blobs.PathOf(filled.manifest.bundle_hash).c_str()), 0);
  EXPECT_TRUE(filled.Run());
}

TEST(ObjectCache, FillsADamagedEntryAnew) {  // L39
  Filled filled;
  for (const char* ending : {".idx", ".pack"}) {
    for (bool truncate : {true, false}) {
      std::string file = filled.Pack(ending);
      ASSERT_FALSE(file.empty());
      std::string bytes = ReadFileAt(file);
      ASSERT_EQ(::chmod(file.c_str(), 0644), 0);
      if (truncate) {
        bytes.resize(bytes.size() / 2);
      } else {
        for (std::size_t i = 40; i < bytes.size() - 20; i += 7)
          bytes[i] = static_cast<char>(bytes[i] ^ 0x55);
      }
      WriteFileAt(file, bytes);
      filled.Run();
      EXPECT_TRUE(filled.Run()) << ending;
    }
  }
}

TEST(ObjectCache, RemovesWhatADeadFillLeft) {
  Filled filled;
  std::string dead = filled.dir.Sub("cache/.fill-0123");
  WriteFileAt(dead + "/objects/pack/tmp", "half");
  utimbuf old{1000, 1000};
  ASSERT_EQ(::utime(dead.c_str(), &old), 0);
  filled.Run();
  EXPECT_FALSE(fs::exists(dead));
}

// Entries of three bundles in a cache that may hold two of them.
TEST(ObjectCache, RemovesTheLongestUnusedAndNeverOneInUse) {
  TempDir dir;
  BlobFolder blobs(dir.Sub("blobs"));
  const BlobSource source = blobs.Source();
  std::vector<protocol::Digest> bundles;
  for (int i = 0; i < 3; ++i) {
    const std::string repo = dir.path() + "/repo" + std::to_string(i);
    MakeRepository(repo, {{"a", std::to_string(i) + "\n"}});
    bundles.push_back(ManifestOfHead(repo, blobs).bundle_hash);
  }
  auto is_there = [&](int i) { return fs::exists(dir.path() + "/cache/" + bundles[i].ToHex()); };
  auto old = [&](int i, std::time_t when) {
    const std::string header = dir.path() + "/cache/" + bundles[i].ToHex() + "/header";
    utimbuf times{when, when};
    ASSERT_EQ(::utime(header.c_str(), &times), 0);
  };
  // Each in a cache of its own, so that none is kept open beside the one that is asked for.
  auto get = [&](int i, std::size_t most) {
    auto cache = ObjectCache::Open(dir.path() + "/cache", {.max_entries = most}).value();
    auto found = cache->Get(bundles[i], source);
    EXPECT_TRUE(found) << (found ? "" : found.error().ToString());
    return found ? found->entry : nullptr;
  };
  auto in_use = get(0, 2);
  (void)get(1, 2);
  old(0, 1000);
  old(1, 2000);
  (void)get(2, 2);
  EXPECT_TRUE(is_there(0)) << "used longest ago, and in use";
  EXPECT_FALSE(is_there(1));
  EXPECT_TRUE(is_there(2));
  in_use.reset();
  (void)get(1, 2);
  EXPECT_FALSE(is_there(0));
  EXPECT_TRUE(is_there(1));
  auto small = ObjectCache::Open(dir.path() + "/cache", {.max_bytes = 1}).value();
  small->Trim();
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(is_there(i)) << i;
}

TEST(ObjectCache, KeepsBundlesApartFromEachOther) {
  Filled filled;
  std::string other = filled.dir.path() + "/other";
  MakeRepository(other, {{"secret", "of another requester\n"}});
  protocol::Manifest foreign = ManifestOfHead(other, filled.blobs);
  RunPlace place(filled.dir.Sub("foreign"), filled.dir.Sub("cache"));
  WRIT_ASSERT_OK(place.Materialize(foreign, filled.blobs));
  std::string blob = Git(other, {"rev-parse", "HEAD:secret"});
  blob.pop_back();
  RunPlace mine(filled.dir.Sub("mine"), filled.dir.Sub("cache"));
  WRIT_ASSERT_OK(mine.Materialize(filled.manifest, filled.blobs));
  EXPECT_NE(RunTool({"git", "cat-file", "-e", blob}, mine.tree).code, 0);
  EXPECT_EQ(RunTool({"git", "cat-file", "-e", blob}, place.tree).code, 0);
}

}  // namespace
}  // namespace writ::workspace::test
