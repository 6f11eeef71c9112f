// Leases: kept whatever the job and its uploads do, cancelled, revoked, lost, reconciled (L40).
#include <thread>

#include "e2e/support/leased_world.h"
#include "writ/protocol/bundle.h"

namespace writ {
namespace {

using test::Eventually;
using test::FakeJobView;
using test::FakePlane;

class LeaseTest : public test::LeasedWorld {
 protected:
  // Adds a run, starts the engine and waits until its job runs.
  runner::Engine& StartWith(const std::string& run_id) {
    plane_.Add(Draft(run_id));
    runner::Engine& engine = world_.Open();
    EXPECT_TRUE(engine.Start());
    EXPECT_TRUE(gate_.WaitForStart());
    return engine;
  }
  void Finish(runner::Engine& engine) {
    engine.RequestStop(runner::StopMode::kDrain);
    engine.Wait();
  }
};

TEST_F(LeaseTest, CancelsARunningJobAndNamesWhoAskedForIt) {
  AddWaitingAgent();
  runner::Engine& engine = StartWith("run_cancel");
  plane_.RequestCancel("run_cancel");
  ASSERT_TRUE(Eventually([&] { return plane_.Get("run_cancel").completions == 1; }));
  Finish(engine);
  ExpectOneGoodReceipt("run_cancel", "cancelled");
  const json::Value last = plane_.Get("run_cancel").events.back().event;
  const json::Value* actor = last.Find("actor");
  ASSERT_NE(actor, nullptr);
  EXPECT_EQ(actor->FindString("id"), "who@example.com");
}

// L40: the log call hangs, the upload of blobs hangs, and the lease is renewed all the same.
TEST_F(LeaseTest, IsRenewedWhileTheJobIsBusyAndEveryTransferHangs) {
  plane_.SetLease({.lease_ms = 2'000, .renew_after_ms = 100});
  std::mutex mutex;
  std::condition_variable wake;
  bool release = false;
  std::atomic<int> hanging{0};
  plane_.SetFault(
      [&](const std::string& method, const std::string& path) -> std::optional<FakePlane::Answer> {
        if (path.ends_with("/log") || (method == "POST" && path == "/v1/blobs")) {
          ++hanging;
          std::unique_lock lock(mutex);
          wake.wait(lock, [&] { return release; });
          --hanging;
        }
        return std::nullopt;
      });
  world_.AddFake([this](FakeJobView& job) {
    job.Print(std::string(200'000, 'x'));
    (void)gate_.Pass(job.stop);
    return test::Exited(0);
  });
  runner::Engine& engine = StartWith("run_busy");
  ASSERT_TRUE(Eventually([&] { return hanging > 0; }));
  const int while_log_hung = plane_.Get("run_busy").renewals;
  EXPECT_TRUE(Eventually([&] { return plane_.Get("run_busy").renewals > while_log_hung + 4; }));
  gate_.Open();
  ASSERT_TRUE(Eventually([&] { return plane_.Calls("POST /v1/blobs") > 0; }));  // its log, uploaded
  const int while_upload_hung = plane_.Get("run_busy").renewals;
  EXPECT_TRUE(Eventually([&] { return plane_.Get("run_busy").renewals > while_upload_hung + 4; }));
  {
    std::lock_guard lock(mutex);
    release = true;
  }
  wake.notify_all();
  Finish(engine);
  ExpectOneGoodReceipt("run_busy", "completed");
  EXPECT_FALSE(HasFinding("run_busy", "lease.gap"));
}

TEST_F(LeaseTest, GoesOnUntilTheReceiptIsStored) {
  plane_.SetLease({.lease_ms = 2'000, .renew_after_ms = 100});
  world_.AddFake([](FakeJobView&) { return test::Exited(0); });
  plane_.Add(Draft("run_late_receipt"));
  std::atomic<int> refused{0};
  plane_.SetFault(
      [&](const std::string&, const std::string& path) -> std::optional<FakePlane::Answer> {
        if (!path.ends_with("/complete")) return std::nullopt;
        if (refused == 0) refused = plane_.Get("run_late_receipt").renewals;
        if (plane_.Get("run_late_receipt").renewals > refused + 4) return std::nullopt;
        return FakePlane::Answer{503, "{}"};
      });
  ASSERT_TRUE(world_.RunOne());
  ExpectOneGoodReceipt("run_late_receipt", "completed");
}

TEST_F(LeaseTest, UsesARenewedTokenForTheCallsThatFollow) {
  world_.AddFake([this](FakeJobView& job) {
    (void)gate_.Pass(job.stop);
    job.Print("of the log\n");
    return test::Exited(0);
  });
  runner::Engine& engine = StartWith("run_tokens");
  plane_.SetLease({.fresh_tokens = true});
  ASSERT_TRUE(Eventually([&] { return plane_.Get("run_tokens").renewals > 3; }));
  // The last one there is, which the next renewal shows: every call from here on has to show it
  // too, and every older one is refused.
  plane_.SetLease({});
  const int renewed = plane_.Get("run_tokens").renewals;
  ASSERT_TRUE(Eventually([&] { return plane_.Get("run_tokens").renewals > renewed + 1; }));
  const std::string last = plane_.Get("run_tokens").claim_token;
  EXPECT_NE(last, "claim-run_tokens");
  const int refused = plane_.refused_tokens();
  gate_.Open();
  ASSERT_TRUE(Eventually([&] { return plane_.Get("run_tokens").completions == 1; }));
  Finish(engine);
  ExpectOneGoodReceipt("run_tokens", "completed");
  EXPECT_EQ(plane_.Get("run_tokens").claim_token, last);
  EXPECT_EQ(plane_.refused_tokens(), refused);
  EXPECT_TRUE(plane_.HasBlob(protocol::Sha256("of the log\n").ToHex()));
}

// A plane that was away for longer than the claim token lives.
TEST_F(LeaseTest, GetsAFreshTokenForTheRunnersOwnWhereTheClaimTokenHasRunOut) {
  world_.AddFake([this](FakeJobView& job) {
    (void)gate_.Pass(job.stop);
    job.Print("of the log\n");
    return test::Exited(0);
  });
  runner::Engine& engine = StartWith("run_tokens");
  plane_.EndToken("run_tokens");
  ASSERT_TRUE(Eventually([&] { return !plane_.Get("run_tokens").token_ended; }));
  gate_.Open();
  ASSERT_TRUE(Eventually([&] { return plane_.Get("run_tokens").completions == 1; }));
  Finish(engine);
  ExpectOneGoodReceipt("run_tokens", "completed");
  EXPECT_TRUE(plane_.HasBlob(protocol::Sha256("of the log\n").ToHex()));
}

// The same when the job has ended meanwhile, and nobody keeps its lease any more.
class TokenOfAWaitingRun : public LeaseTest {
 protected:
  // The plane is away, and back when the run's claim token has run out.
  void RunWhileThePlaneIsAway(const std::string& run_id, const std::function<void()>& meanwhile) {
    std::atomic<bool> away{false};
    plane_.SetFault(
        [&away](const std::string&, const std::string&) -> std::optional<FakePlane::Answer> {
          return away ? std::optional(FakePlane::Answer{503, "{}"}) : std::nullopt;
        });
    world_.config.call_timeout = std::chrono::milliseconds(2'000);
    world_.config.transfer_timeout = std::chrono::milliseconds(1'500);
    world_.AddFake([this](FakeJobView& job) {
      (void)gate_.Pass(job.stop);
      job.Print("of the log\n");
      return test::Exited(0);
    });
    runner::Engine& engine = StartWith(run_id);
    away = true;
    gate_.Open();
    EXPECT_TRUE(
        Eventually([&] { return world_.observer.steps().find("waiting") != std::string::npos; }));
    EXPECT_TRUE(Eventually([&] { return engine.ActiveRuns() == 0; }));
    plane_.EndToken(run_id);
    meanwhile();
    away = false;
    EXPECT_TRUE(Eventually([&] {
      const FakePlane::Run run = plane_.Get(run_id);
      return run.completions == 1 || !run.late.is_null() || !ParkedCode(run_id).empty();
    }));
    Finish(engine);
    plane_.SetFault({});
  }
};

TEST_F(TokenOfAWaitingRun, IsRenewedAndItsOutputAndReceiptGoOut) {
  RunWhileThePlaneIsAway("run_waiting", [] {});
  ExpectOneGoodReceipt("run_waiting", "completed");
  EXPECT_TRUE(plane_.HasBlob(protocol::Sha256("of the log\n").ToHex()));
  EXPECT_EQ(ParkedCode("run_waiting"), "");
}

TEST_F(TokenOfAWaitingRun, ThatThePlaneHasClosedMeanwhileLeadsToALateBundle) {
  RunWhileThePlaneIsAway("run_waiting", [&] { plane_.CloseRun("run_waiting"); });
  EXPECT_EQ(plane_.Get("run_waiting").completions, 0);
  const json::Value late = plane_.Get("run_waiting").late;
  ASSERT_TRUE(late.is_object());
  EXPECT_EQ(late.Find("receipt")->FindString("status"), "completed");
  EXPECT_TRUE(plane_.HasBlob(protocol::Sha256("of the log\n").ToHex()));
  EXPECT_EQ(ParkedCode("run_waiting"), "plane.run_ended");
}

TEST_F(LeaseTest, OfARevokedRunnerEndsTheJobAtOnceAndParksItsBundleWithTheReason) {
  world_.config.cancel_grace = std::chrono::hours(1);  // not waited for
  AddWaitingAgent();
  runner::Engine& engine = StartWith("run_revoked");
  plane_.Revoke();
  engine.Wait();  // ends by itself
  ASSERT_TRUE(engine.Trouble());
  EXPECT_EQ(engine.Trouble()->code, "plane.revoked");
  EXPECT_EQ(plane_.Get("run_revoked").completions, 0);
  EXPECT_EQ(ParkedCode("run_revoked"), "plane.revoked");
  json::Value bundle = ParkedBundle("run_revoked");
  ASSERT_TRUE(bundle.is_object());
  EXPECT_EQ(bundle.Find("receipt")->FindString("status"), "failed");
}

TEST_F(LeaseTest, OfARunThatThePlaneClosedIsParkedAndHandedInLate) {
  AddWaitingAgent();
  runner::Engine& engine = StartWith("run_closed");
  plane_.CloseRun("run_closed");
  ASSERT_TRUE(Eventually([&] { return !plane_.Get("run_closed").late.is_null(); }));
  Finish(engine);
  FakePlane::Run run = plane_.Get("run_closed");
  EXPECT_EQ(run.completions, 0);
  const json::Value* receipt = run.late.Find("receipt");
  ASSERT_NE(receipt, nullptr);
  EXPECT_EQ(receipt->FindString("status"), "failed");
  EXPECT_EQ(ParkedCode("run_closed"), "plane.run_ended");
  EXPECT_EQ(plane_.Calls("POST /v1/runs/run_closed/complete"), 0);
}

TEST_F(LeaseTest, OfAForgottenRunIsParked) {
  AddWaitingAgent();
  runner::Engine& engine = StartWith("run_forgotten");
  plane_.ForgetRun("run_forgotten");
  ASSERT_TRUE(Eventually([&] { return ParkedCode("run_forgotten") == "plane.forgotten"; }));
  Finish(engine);
}

// planeLost: stop. The plane is silent, and is back when the receipt is made.
TEST_F(LeaseTest, StopsTheJobOfALostPlaneAfterTheTimeOfThePolicy) {
  plane_.SetLease({.lease_ms = 1'000, .renew_after_ms = 100});
  world_.config.plane_lost = {runner::PlaneLost::Policy::kStop, std::chrono::milliseconds(1'500)};
  std::atomic<bool> lost{false};
  plane_.SetFault(
      [&](const std::string&, const std::string& path) -> std::optional<FakePlane::Answer> {
        return lost && path.ends_with("/lease") ? std::optional(FakePlane::Answer{503, "{}"})
                                                : std::nullopt;
      });
  AddWaitingAgent();
  runner::Engine& engine = StartWith("run_lost");
  lost = true;
  ASSERT_TRUE(Eventually([&] { return plane_.Get("run_lost").completions == 1; }));
  Finish(engine);
  ExpectOneGoodReceipt("run_lost", "failed");
  EXPECT_NE(LastEvent("run_lost", "message").find("the plane did not answer for"),
            std::string::npos);
  EXPECT_TRUE(HasFinding("run_lost", "lease.gap"));
}

// planeLost: keep-running, the default: nothing happens to the job, and the gap is on record.
TEST_F(LeaseTest, KeepsTheJobOfALostPlaneRunningAndReconcilesOnReturn) {
  plane_.SetLease({.lease_ms = 1'000, .renew_after_ms = 100});
  std::atomic<bool> lost{false};
  std::atomic<int> unanswered{0};
  plane_.SetFault([&](const std::string&, const std::string&) -> std::optional<FakePlane::Answer> {
    if (!lost) return std::nullopt;
    ++unanswered;
    return FakePlane::Answer{500, "<html>a proxy's page</html>", "text/html"};
  });
  AddWaitingAgent();
  runner::Engine& engine = StartWith("run_kept");
  const auto lapsed = std::chrono::steady_clock::now() + std::chrono::milliseconds(1'500);
  lost = true;
  ASSERT_TRUE(
      Eventually([&] { return unanswered > 3 && std::chrono::steady_clock::now() > lapsed; }));
  lost = false;
  const int before = plane_.Get("run_kept").renewals;
  ASSERT_TRUE(Eventually([&] { return plane_.Get("run_kept").renewals > before; }));
  gate_.Open();
  ASSERT_TRUE(Eventually([&] { return plane_.Get("run_kept").completions == 1; }));
  Finish(engine);
  ExpectOneGoodReceipt("run_kept", "completed");
  EXPECT_TRUE(HasFinding("run_kept", "lease.gap"));
}

// A second signal while a job runs: cancelled, with its receipt, and the lease kept until then.
TEST_F(LeaseTest, IsKeptWhileASecondSignalCancelsTheRun) {
  AddWaitingAgent();
  runner::Engine& engine = StartWith("run_signal");
  engine.RequestStop(runner::StopMode::kDrain);
  engine.RequestStop(runner::StopMode::kCancelRuns);
  engine.Wait();
  ExpectOneGoodReceipt("run_signal", "cancelled");
}

}  // namespace
}  // namespace writ
