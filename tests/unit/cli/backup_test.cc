// A plane as one file, taken while it works, and what comes of it.
#include "writ/plane/backup.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "backup/tar.h"
#include "store/store.h"
#include "test_plane.h"
#include "writ/protocol/bundle.h"

namespace writ {
namespace {

namespace fs = std::filesystem;
using test::TempFolder;
using test::TestPlane;
using test::TestRunner;

class BackupTest : public ::testing::Test {
 protected:
  std::string Out(const std::string& name) const { return folder_.path() + "/" + name; }
  // Every run that the plane of `dir` has completed verifies with the plane's own key.
  int VerifiedReceipts(const std::string& dir) {
    auto plane = plane::Plane::Open({dir, plane::Config{}}, plane_.clock);
    EXPECT_TRUE(plane) << (plane ? "" : plane.error().ToString());
    if (!plane) return -1;
    auto key = protocol::PublicKey::FromPem((*plane)->public_key_pem());
    EXPECT_TRUE(key);
    int verified = 0;
    const auto runs = (*plane)->Runs().value();
    for (const plane::RunSummary& run : runs) {
      if (!run.has_receipt) continue;
      auto bundle = (*plane)->Bundle(run.run_id);
      EXPECT_TRUE(bundle) << (bundle ? "" : bundle.error().ToString());
      if (!bundle) continue;
      protocol::VerifyOptions options;
      options.plane_key = *key;
      const auto report = protocol::VerifyBundle(*bundle, options);
      EXPECT_TRUE(report.ok) << run.run_id;
      if (report.ok) ++verified;
    }
    return verified;
  }
  TempFolder folder_;
  TestPlane plane_;
};

TEST_F(BackupTest, IsWholeThoughThePlaneWorksMeanwhile) {  // L15
  TestRunner runner(*plane_, plane_.local);
  test::RunToCompletion(plane_, runner);
  std::atomic<bool> stop{false};
  std::atomic<int> done{0};
  std::jthread load([&] {
    while (!stop) {
      test::RunToCompletion(plane_, runner);
      ++done;
    }
  });
  std::vector<std::string> files;
  for (int n = 0; n < 5; ++n) {
    const int before = done;
    while (done == before) std::this_thread::yield();  // at least one run between two backups
    auto report = plane::Backup(plane_.dir(), Out("b" + std::to_string(n) + ".tar"), plane_.clock);
    ASSERT_TRUE(report) << report.error().ToString();
    EXPECT_GT(report->blobs, 0u);
    EXPECT_TRUE(report->missing_blobs.empty());
    files.push_back(report->file);
  }
  stop = true;
  load.join();
  int last = 0;
  for (const std::string& file : files) {
    struct stat info {};
    ASSERT_EQ(::stat(file.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777, 0600u) << "keys are in it";
    const std::string dir = file + ".restored";
    auto restored = plane::Restore(file, dir);
    ASSERT_TRUE(restored) << restored.error().ToString();
    EXPECT_EQ(restored->plane_key_id, plane_->key_id());
    ASSERT_EQ(::stat((dir + "/keys/plane.pem").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777, 0600u);
    const int verified = VerifiedReceipts(dir);
    EXPECT_GT(verified, last) << "each backup has more than the one before";
    last = verified;
  }
  EXPECT_FALSE(fs::exists(plane_.dir() + "/plane/backup")) << "nothing of it is left";
}

TEST_F(BackupTest, RestoresWhatARequestThatWaitsWillNeed) {
  plane_.SetPolicyText(test::ConsentPolicy(1));
  const std::string run = test::Submit(plane_);
  auto report = plane::Backup(plane_.dir(), folder_.path(), plane_.clock);  // a folder
  ASSERT_TRUE(report) << report.error().ToString();
  EXPECT_GT(report->blobs, 0u);
  const std::string dir = Out("restored");
  ASSERT_TRUE(plane::Restore(report->file, dir));
  auto again = plane::Plane::Open({dir, plane::Config{}}, plane_.clock);
  ASSERT_TRUE(again);
  EXPECT_EQ((*again)->Run(run)->summary.status, plane::RunState::kAwaitingApproval);
}

TEST_F(BackupTest, ReplacesNothing) {
  auto first = plane::Backup(plane_.dir(), Out("b.tar"), plane_.clock);
  ASSERT_TRUE(first);
  const std::string bytes = test::ReadText(first->file);
  EXPECT_EQ(plane::Backup(plane_.dir(), Out("b.tar"), plane_.clock).error().code, "backup.exists");
  EXPECT_EQ(test::ReadText(first->file), bytes);
  test::WriteText(Out("full"), "somebody's");
  EXPECT_EQ(plane::Restore(first->file, Out("full")).error().code, "restore.not_empty");
  EXPECT_EQ(plane::Restore(first->file, plane_.dir()).error().code, "restore.not_empty");
  fs::create_directory(Out("empty"));
  EXPECT_TRUE(plane::Restore(first->file, Out("empty")));
}

TEST_F(BackupTest, OfANewerSchemaIsRefused) {
  plane_.Close();
  const std::string newer =
      "PRAGMA user_version=" + std::to_string(plane::store::SchemaVersion() + 1);
  {
    auto db = sqlite::Database::Open(plane_.dir() + "/plane/state.db",
                                     sqlite::Database::Mode::kReadWrite);
    ASSERT_TRUE(db && (*db)->Exec(newer.c_str()));
  }
  auto report = plane::Backup(plane_.dir(), Out("b.tar"), plane_.clock);
  ASSERT_TRUE(report) << report.error().ToString();
  EXPECT_EQ(plane::Restore(report->file, Out("restored")).error().code, "store.newer");
  EXPECT_FALSE(fs::exists(Out("restored")));
}

// Cut anywhere, or with any byte changed, it makes no plane, and leaves nothing.
TEST_F(BackupTest, ThatIsDamagedMakesNoPlane) {
  auto report = plane::Backup(plane_.dir(), Out("b.tar"), plane_.clock);
  ASSERT_TRUE(report);
  const std::string whole = test::ReadText(report->file);
  auto refused = [&](const std::string& bytes) {
    test::WriteText(Out("bad.tar"), bytes);
    auto restored = plane::Restore(Out("bad.tar"), Out("restored"));
    EXPECT_FALSE(fs::exists(Out("restored")));
    return !restored;
  };
  for (std::size_t cut = 0; cut + 1024 < whole.size(); cut += whole.size() / 37)
    EXPECT_TRUE(refused(whole.substr(0, cut))) << cut;
  for (std::size_t at = 3; at + 1024 < whole.size(); at += whole.size() / 61) {
    std::string changed = whole;
    changed[at] = static_cast<char>(changed[at] ^ 0x20);
    EXPECT_TRUE(refused(changed)) << at;
  }
  std::string leftovers;
  for (const auto& entry : fs::directory_iterator(folder_.path()))
    if (entry.path().filename().string().starts_with('.')) leftovers += entry.path().string();
  EXPECT_EQ(leftovers, "");
}

TEST_F(BackupTest, WithNamesThatLeadElsewhereIsNone) {  // L13
  for (const char* name : {"../evil", "/etc/evil", "keys/../../evil", "keys/", "blobs/abc",
                           "plane/state.db", "keys/a/b", "keys/.hidden"}) {
    test::WriteText(Out("bad.tar"), plane::TarHeader({name, 0, 0}) + std::string(plane::TarEnd()));
    auto restored = plane::Restore(Out("bad.tar"), Out("restored"));
    ASSERT_FALSE(restored) << name;
    EXPECT_EQ(restored.error().code, "backup.format") << name;
  }
  // A link, as other tars have them.
  std::string link = plane::TarHeader({"keys/plane.pem", 0, 0});
  link[156] = '2';
  test::WriteText(Out("bad.tar"), link + std::string(plane::TarEnd()));
  EXPECT_EQ(plane::Restore(Out("bad.tar"), Out("restored")).error().code, "backup.format");
}

TEST_F(BackupTest, ListsAsTarAndKeepsLargeSizes) {
  for (const std::uint64_t bytes : {0ull, 511ull, (1ull << 33) - 1, 1ull << 33, 5ull << 40}) {
    auto back = plane::ParseTarHeader(plane::TarHeader({"blobs/x", bytes, 1'700'000'000}));
    ASSERT_TRUE(back && *back);
    EXPECT_EQ((*back)->bytes, bytes);
    EXPECT_EQ((*back)->modified, 1'700'000'000);
  }
}

}  // namespace
}  // namespace writ
