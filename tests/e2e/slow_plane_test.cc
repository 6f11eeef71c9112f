// A plane that answers, but slowly: one absolute deadline bounds each operation, whatever drips in
// meanwhile, and a claimed run still ends in its receipt (L19).
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>

#include "e2e/support/leased_world.h"
#include "e2e/support/slow_link.h"
#include "writ/protocol/bundle.h"
#include "writ/runner/journal.h"

namespace writ {
namespace {

using std::chrono::milliseconds;
using test::Eventually;
using test::Exited;
using test::FakeJobView;
using test::FakePlane;
using test::RunnerWorld;
using test::SlowLink;

// Every read sees a byte in time; the whole would take minutes.
constexpr SlowLink::Pace kDrip{1, milliseconds(100)};
constexpr SlowLink::Pace kAtOnce{};

class SlowPlane : public ::testing::Test {
 protected:
  SlowPlane() : plane_(clock_, FakePlane::Dialect::kExtended), world_(plane_, clock_) {
    FakePlane::LoadRecordedBlobs(plane_);
    world_.AddFake([](FakeJobView& job) {
      job.Write("made.txt", "new\n");
      job.Print("working\n");
      return Exited(0);
    });
    plane_.Add(plane_.DraftOfTrue("run_slow"));
  }
  ~SlowPlane() override { world_.Close(); }  // before the link goes
  // Answers to request lines that hold `words` come at that pace.
  void Slow(const std::string& words, SlowLink::Pace pace) {
    link_.emplace(plane_.url(), [words, pace](const std::string& line) {
      return line.find(words) != std::string::npos ? pace : kAtOnce;
    });
    world_.config.plane.url = link_->url();
  }
  void ExpectVerifies() {
    protocol::VerifyReport report = protocol::VerifyBundleValue(plane_.Bundle("run_slow"));
    EXPECT_TRUE(report.ok) << protocol::RenderText(report, "run_slow");
    EXPECT_EQ(plane_.violations(), std::vector<std::string>());
    EXPECT_EQ(world_.Sessions(), std::vector<std::string>());
  }
  SystemClock clock_;
  FakePlane plane_;
  RunnerWorld world_;
  std::optional<SlowLink> link_;
};

TEST_F(SlowPlane, CompletesARunWhoseEveryAnswerComesInPieces) {
  Slow("", {256, milliseconds(2)});
  ASSERT_TRUE(world_.RunOne());
  FakePlane::Run run = plane_.Get("run_slow");
  ASSERT_EQ(run.completions, 1);
  EXPECT_EQ(run.receipt.FindString("status"), "completed");
  ExpectVerifies();
}

TEST_F(SlowPlane, EndsARunWhoseWorkspaceDripsInPastItsDeadline) {
  Slow("GET /v1/blobs/", kDrip);
  world_.config.transfer_timeout = milliseconds(500);
  ASSERT_TRUE(world_.RunOne());
  FakePlane::Run run = plane_.Get("run_slow");
  ASSERT_EQ(run.completions, 1);
  EXPECT_EQ(run.receipt.FindString("status"), "failed");
  const json::Value& last = run.events.back().event;
  EXPECT_EQ(last.FindString("failure"), "transfer_failed");
  // The measured wait is said, and it was one: no attempt after the deadline.
  EXPECT_NE(last.FindString("message").value_or("").find(" ms"), std::string_view::npos)
      << json::Write(last);
  EXPECT_EQ(plane_.Calls(
                "GET /v1/blobs/aac1f1296533be71b2f13d8fbbcd30fe99631a5bf03537911924c21eca74e5f9"),
            1);
  ExpectVerifies();
}

TEST_F(SlowPlane, GivesUpAClaimWhoseAnswerDripsInPastItsDeadlineAndSaysHowLongItWaited) {
  Slow("POST /v1/claims", kDrip);
  world_.config.call_timeout = milliseconds(500);
  Result<std::optional<std::string>> ran = world_.Open().RunOnce(milliseconds(0));
  ASSERT_FALSE(ran);
  EXPECT_EQ(ran.error().code, "plane.timeout");
  EXPECT_NE(ran.error().message.find(" ms"), std::string::npos) << ran.error().ToString();
  EXPECT_EQ(plane_.Calls("POST /v1/claims"), 1);  // a claim is not made twice
}

// A finished run is not thrown away because its plane is silent just then: the output waits with
// the journal, and goes out when the plane answers.
TEST_F(SlowPlane, KeepsTheOutputOfARunWhoseUploadIsNotAnsweredInTimeAndBringsItLater) {
  std::atomic<bool> slow{true};
  link_.emplace(plane_.url(), [&slow](const std::string& line) {
    return slow && line.find("POST /v1/blobs") != std::string::npos ? kDrip : kAtOnce;
  });
  world_.config.plane.url = link_->url();
  world_.config.transfer_timeout = milliseconds(1500);
  world_.config.call_timeout = milliseconds(2000);
  ASSERT_TRUE(world_.RunOne());
  EXPECT_EQ(plane_.Get("run_slow").completions, 0);
  const auto kept = runner::ListKeptReceipts(world_.config.state_dir).value();
  EXPECT_TRUE(kept.empty()) << "not signed yet: " << kept[0].code;
  slow = false;
  ASSERT_TRUE(Eventually([&] { return plane_.Get("run_slow").completions == 1; }));
  world_.Close();
  FakePlane::Run run = plane_.Get("run_slow");
  EXPECT_EQ(run.receipt.FindString("status"), "completed");
  EXPECT_TRUE(plane_.HasBlob(protocol::Sha256("working\n").ToHex()));
  ExpectVerifies();
}

class BusyPlane : public SlowPlane, public ::testing::WithParamInterface<int> {};

// The same where it answers, and says that it takes nothing now.
TEST_P(BusyPlane, KeepsTheOutputOfARunAndBringsItLater) {
  std::atomic<bool> busy{true};
  plane_.SetFault(
      [&](const std::string& method, const std::string& path) -> std::optional<FakePlane::Answer> {
        if (!busy || method != "POST" || path != "/v1/blobs") return std::nullopt;
        return FakePlane::Answer{GetParam(), R"({"error":"not now","code":"store.full"})"};
      });
  world_.config.transfer_timeout = milliseconds(1500);
  world_.config.call_timeout = milliseconds(2000);
  ASSERT_TRUE(world_.RunOne());
  EXPECT_EQ(plane_.Get("run_slow").completions, 0);
  busy = false;
  ASSERT_TRUE(Eventually([&] { return plane_.Get("run_slow").completions == 1; }));
  world_.Close();
  EXPECT_EQ(plane_.Get("run_slow").receipt.FindString("status"), "completed");
  EXPECT_TRUE(plane_.HasBlob(protocol::Sha256("working\n").ToHex()));
  ExpectVerifies();
}

INSTANTIATE_TEST_SUITE_P(EachAnswer, BusyPlane, ::testing::Values(429, 502, 503, 504));

// What is about this blob and not about the plane's day is final.
TEST_F(SlowPlane, FailsARunWhoseUploadIsRefused) {
  plane_.SetFault(
      [](const std::string& method, const std::string& path) -> std::optional<FakePlane::Answer> {
        if (method != "POST" || path != "/v1/blobs") return std::nullopt;
        return FakePlane::Answer{413, R"({"error":"too large"})"};
      });
  ASSERT_TRUE(world_.RunOne());
  FakePlane::Run run = plane_.Get("run_slow");
  ASSERT_EQ(run.completions, 1);
  EXPECT_EQ(run.events.back().event.FindString("failure"), "transfer_failed");
  EXPECT_EQ(plane_.Calls("POST /v1/blobs"), 1);  // neither again nor for the next artifact
  ExpectVerifies();
}

TEST_F(SlowPlane, KeepsTheBundleOfARunWhoseCompletionIsNotAnsweredInTime) {
  Slow("/complete ", kDrip);
  world_.config.call_timeout = milliseconds(1000);
  ASSERT_TRUE(world_.RunOne());
  // The plane stored it; the runner cannot know, and keeps what it has.
  EXPECT_EQ(plane_.Get("run_slow").completions, 1);
  const auto kept = runner::ListKeptReceipts(world_.config.state_dir).value();
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_FALSE(kept[0].parked);  // it is sent again
  protocol::VerifyReport report = protocol::VerifyBundleValue(
      runner::ReadKeptBundle(world_.config.state_dir, kept[0].run_id).value());
  std::vector<std::string> problems;
  for (const auto& problem : report.problems) problems.push_back(problem.code);
  EXPECT_EQ(problems, std::vector<std::string>{"receipt.plane_signature"});
  EXPECT_EQ(world_.Sessions(), std::vector<std::string>());
}

}  // namespace
}  // namespace writ
