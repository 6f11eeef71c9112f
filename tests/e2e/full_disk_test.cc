// A runner whose disk is full: every claimed run still ends in one signed receipt that says so, and
// nothing is left.
#include <gtest/gtest.h>
#include <sys/statvfs.h>

#include <filesystem>
#include <fstream>

#include "e2e/support/runner_world.h"
#include "e2e/support/small_disk.h"
#include "writ/protocol/bundle.h"
#include "writ/runner/journal.h"

namespace writ {
namespace {

using test::Exited;
using test::FakeJobView;
using test::FakePlane;
using test::RunnerWorld;
using test::SmallDisk;

constexpr std::uint64_t kDisk = 8 << 20;

class FullDisk : public ::testing::Test {
 protected:
  FullDisk()
      : plane_(clock_, FakePlane::Dialect::kExtended),
        world_(plane_, clock_),
        disk_(MakeFolder(), kDisk) {
    FakePlane::LoadRecordedBlobs(plane_);
    world_.config.work_dir = folder_ + "/work";
  }
  ~FullDisk() override { world_.Close(); }  // before its disk goes
  void SetUp() override {
    if (!disk_.why_not().empty()) GTEST_SKIP() << disk_.why_not();
  }
  std::string MakeFolder() {
    folder_ = world_.root() + "/small";
    std::filesystem::create_directory(folder_);
    return folder_;
  }
  void AddRun(const std::string& run_id) { plane_.Add(plane_.DraftOfTrue(run_id)); }
  // Finishes the run; its delivered, verified receipt.
  json::Value Receipt(const std::string& run_id) {
    AddRun(run_id);
    Result<std::optional<std::string>> ran = world_.RunOne();
    EXPECT_TRUE(ran) << (ran ? "" : ran.error().ToString());
    FakePlane::Run run = plane_.Get(run_id);
    EXPECT_EQ(run.completions, 1);
    if (run.completions != 1) return json::Object{};
    protocol::VerifyReport report = protocol::VerifyBundleValue(plane_.Bundle(run_id));
    EXPECT_TRUE(report.ok) << protocol::RenderText(report, run_id);
    EXPECT_EQ(world_.Sessions(), std::vector<std::string>()) << "files are left";
    return run.receipt;
  }
  // The work directory keeps its room, so that nothing is given back while the run ends.
  void OnlyTheStateIsOnTheSmallDisk() {
    world_.config.work_dir = world_.root() + "/work";
    world_.config.state_dir = folder_ + "/state";
  }
  void ExpectDiskFailure(const json::Value& receipt, const std::string& run_id) {
    EXPECT_EQ(receipt.FindString("status"), "failed");
    const json::Value last = plane_.Get(run_id).events.back().event;
    EXPECT_EQ(last.FindString("failure"), "session_failed") << json::Write(last);
    EXPECT_NE(last.FindString("message").value_or("").find("disk is full"), std::string_view::npos)
        << json::Write(last);
    EXPECT_FALSE(world_.observer.end().hint.empty());
  }
  SystemClock clock_;
  FakePlane plane_;
  RunnerWorld world_;
  std::string folder_;
  SmallDisk disk_;
};

TEST_F(FullDisk, EndsARunWhoseWorkspaceHasNoRoomInAReceiptThatSaysSo) {
  test::FakeBackend& backend = world_.AddFake([](FakeJobView&) { return Exited(0); });
  world_.Open();
  // None at all, and so little that it is used up on the way.
  int failed = 0;
  for (std::uint64_t room : {0, 4096, 8192, 16384, 32768}) {
    disk_.FillBut(room);
    const std::string run_id = "run_room_" + std::to_string(room);
    json::Value receipt = Receipt(run_id);
    disk_.Free();
    if (receipt.FindString("status") == "completed") break;
    ++failed;
    ExpectDiskFailure(receipt, run_id);
    EXPECT_EQ(backend.prepared, 0);
  }
  EXPECT_GE(failed, 1);
  // With room again the same runner works.
  EXPECT_EQ(Receipt("run_after").FindString("status"), "completed");
}

TEST_F(FullDisk, KeepsWhatAJobDidBeforeItFilledTheDisk) {
  world_.AddFake([this](FakeJobView& job) {
    job.Write("made.txt", "before\n");
    disk_.FillBut(0);
    job.Print("no space left\n");
    return Exited(1);
  });
  json::Value receipt = Receipt("run_filled");
  EXPECT_EQ(receipt.FindString("status"), "failed");
  EXPECT_EQ(plane_.Get("run_filled").events.back().event.FindString("message"),
            "agent exited with code 1");
  std::string diff =
      plane_.Blob(std::string(*receipt.Find("workspaceOut")->FindString("diffHash")));
  EXPECT_NE(diff.find("+before"), std::string::npos) << diff;
}

TEST_F(FullDisk, DeliversTheReceiptThatItsOwnJournalHasNoRoomFor) {
  OnlyTheStateIsOnTheSmallDisk();
  world_.AddFake([this](FakeJobView& job) {
    for (int i = 0; i < 100; ++i) job.Write("f" + std::to_string(i), "new\n");  // an event each
    disk_.FillBut(0);
    return Exited(0);
  });
  world_.Open();
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(Receipt("run_unnoted").FindString("status"), "completed");
  // L43: what was not noted is said, with what that costs.
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("events go to the plane without having been noted"), std::string::npos);
  EXPECT_NE(said.find("could not be closed: the next start sends the receipt again"),
            std::string::npos)
      << said;
}

TEST_F(FullDisk, EndsARunThatItCannotEvenNoteInAReceipt) {
  OnlyTheStateIsOnTheSmallDisk();
  test::FakeBackend& backend = world_.AddFake([](FakeJobView&) { return Exited(0); });
  world_.Open();
  disk_.FillBut(0);
  ExpectDiskFailure(Receipt("run_unnoted"), "run_unnoted");
  EXPECT_EQ(backend.prepared, 0);
}

// L38: neither the plane nor the disk takes the receipt: the run stays open, and the next start
// brings it to its end.
TEST_F(FullDisk, LeavesARunOpenThatNeitherPlaneNorDiskTakesAndEndsItAtTheNextStart) {
  OnlyTheStateIsOnTheSmallDisk();
  world_.config.call_timeout = std::chrono::milliseconds(300);
  world_.AddFake([this](FakeJobView&) {
    disk_.FillBut(0);
    return Exited(0);
  });
  plane_.SetFault(
      [](const std::string&, const std::string& path) -> std::optional<FakePlane::Answer> {
        if (path.ends_with("/complete")) return FakePlane::Answer{503, "{\"error\":\"busy\"}"};
        return std::nullopt;
      });
  AddRun("run_open");
  ASSERT_TRUE(world_.RunOne());
  EXPECT_EQ(plane_.Get("run_open").completions, 0);
  EXPECT_TRUE(runner::ListKeptReceipts(world_.config.state_dir)->empty());
  EXPECT_EQ(world_.observer.steps().find("parked"), std::string::npos);
  world_.Close();
  disk_.Free();
  plane_.SetFault(nullptr);
  world_.Open();
  FakePlane::Run run = plane_.Get("run_open");
  const auto kept = runner::ListKeptReceipts(world_.config.state_dir).value();
  EXPECT_EQ(run.completions + static_cast<int>(kept.size()), 1);  // told to the plane, or kept
  EXPECT_EQ(world_.Sessions(), std::vector<std::string>());
}

// L41
TEST_F(FullDisk, ClaimsNothingWhereTheDiskIsBelowWhatTheOperatorKeepsFree) {
  world_.AddFake([](FakeJobView&) { return Exited(0); });
  world_.config.limits.min_free_disk_bytes = kDisk / 2;
  world_.Open();
  disk_.FillBut(kDisk / 4);
  AddRun("run_waits");
  Result<std::optional<std::string>> ran = world_.RunOne();
  ASSERT_FALSE(ran);
  EXPECT_EQ(ran.error().code, "ready.disk");
  EXPECT_FALSE(ran.error().hint.empty());
  EXPECT_EQ(plane_.Calls("POST /v1/claims"), 0);
}

}  // namespace
}  // namespace writ
