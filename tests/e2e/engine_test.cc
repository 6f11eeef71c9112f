// The claim loop: plane trouble, draining, slots, recovery after a kill.
#include "writ/runner/engine.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <future>
#include <thread>

#include "e2e/support/runner_world.h"
#include "writ/protocol/bundle.h"
#include "writ/runner/journal.h"
#include "writ/runner/plane_client.h"

namespace writ {
namespace {

using test::Exited;
using test::FakeJobView;
using test::FakePlane;
using test::RunnerWorld;

class EngineTest : public ::testing::Test {
 protected:
  EngineTest() : plane_(clock_, FakePlane::Dialect::kBase), world_(plane_, clock_) {
    FakePlane::LoadRecordedBlobs(plane_);
  }
  protocol::Contract Draft(const std::string& run_id) { return plane_.DraftOfTrue(run_id); }
  SystemClock clock_;
  FakePlane plane_;
  RunnerWorld world_;
};

TEST_F(EngineTest, ReportsNothingToDoAsNothing) {
  world_.AddFake([](FakeJobView&) { return Exited(0); });
  Result<std::optional<std::string>> ran = world_.Open().RunOnce(std::chrono::milliseconds(0));
  ASSERT_TRUE(ran);
  EXPECT_FALSE(*ran);
}

TEST_F(EngineTest, SaysNothingOfItselfToAPlaneWithoutTheExtension) {
  world_.AddFake([](FakeJobView&) { return Exited(0); });
  ASSERT_TRUE(world_.Open().RunOnce(std::chrono::milliseconds(0)));
  EXPECT_EQ(plane_.Calls("POST /v1/claims"), 1);
  EXPECT_TRUE(plane_.capabilities().is_null());
  EXPECT_TRUE(plane_.violations().empty());
}

TEST_F(EngineTest, GivesOneClearErrorForAPlaneThatAnswersNonsense) {
  world_.AddFake([](FakeJobView&) { return Exited(0); });
  runner::Engine& engine = world_.Open();
  const FakePlane::Answer answers[] = {
      {200, "<html><body>captive portal</body></html>", "text/html"},
      {200, "{\"empty\":\"yes\"}", "application/json"},
      {200, "[1,2,3]", "application/json"},
      {200, "{\"runId\":7,\"contract\":{},\"claimToken\":\"x\",\"events\":[]}", "application/json"},
      {200, "{\"runId\":\"../../etc\",\"contract\":{},\"claimToken\":\"x\",\"events\":[]}",
       "application/json"},
      {302, "", "text/plain"},
      {200, "{\"runId\":\"a\",\"runId\":\"b\"}", "application/json"},
  };
  for (const FakePlane::Answer& answer : answers) {
    plane_.SetFault(
        [&](const std::string&, const std::string& path) -> std::optional<FakePlane::Answer> {
          return path == "/v1/claims" ? std::optional(answer) : std::nullopt;
        });
    Result<std::optional<std::string>> ran = engine.RunOnce(std::chrono::milliseconds(0));
    ASSERT_FALSE(ran) << answer.body;
    EXPECT_EQ(ran.error().code, "plane.nonsense") << answer.body;
    EXPECT_EQ(ran.error().message.find("captive"), std::string::npos);  // L10
  }
}

// L19, and a plane that is busy for a moment.
TEST_F(EngineTest, RetriesAPlaneThatIsUnavailableForAMoment) {
  world_.AddFake([](FakeJobView&) { return Exited(0); });
  std::atomic<int> calls{0};
  plane_.SetFault(
      [&](const std::string&, const std::string& path) -> std::optional<FakePlane::Answer> {
        if (path.ends_with("/complete") && ++calls < 3)
          return FakePlane::Answer{503, "{\"error\":\"busy\"}"};
        return std::nullopt;
      });
  plane_.Add(Draft("run_retry"));
  ASSERT_TRUE(world_.RunOne());
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(plane_.Get("run_retry").completions, 1);
}

// L40
TEST_F(EngineTest, DrainsByFinishingWhatRunsAndClaimingNoMore) {
  std::mutex mutex;
  std::condition_variable wake;
  bool started = false, release = false;
  world_.AddFake([&](FakeJobView&) {
    std::unique_lock lock(mutex);
    started = true;
    wake.notify_all();
    wake.wait(lock, [&] { return release; });
    return Exited(0);
  });
  plane_.Add(Draft("run_first"));
  plane_.Add(Draft("run_second"));
  runner::Engine& engine = world_.Open();
  ASSERT_TRUE(engine.Start());
  {
    std::unique_lock lock(mutex);
    wake.wait(lock, [&] { return started; });
    engine.RequestStop(runner::StopMode::kDrain);
    release = true;
  }
  wake.notify_all();
  engine.Wait();
  EXPECT_EQ(plane_.Get("run_first").completions, 1);
  EXPECT_EQ(plane_.Get("run_second").completions, 0);
}

// L40: the second signal.
TEST_F(EngineTest, CancelsJobsOnTheSecondStopAndStillDeliversTheReceipt) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::promise<void>* started = new std::promise<void>;
  world_.AddFake([&](FakeJobView& job) {
    started->set_value();
    std::unique_lock lock(mutex);
    wake.wait(lock, job.stop, [] { return false; });
    backends::Outcome outcome;
    outcome.kind = backends::Outcome::Kind::kCancelled;
    return outcome;
  });
  plane_.Add(Draft("run_cancel"));
  runner::Engine& engine = world_.Open();
  ASSERT_TRUE(engine.Start());
  started->get_future().wait();
  engine.RequestStop(runner::StopMode::kDrain);
  engine.RequestStop(runner::StopMode::kCancelRuns);
  engine.Wait();
  delete started;
  EXPECT_EQ(plane_.Get("run_cancel").completions, 1);
  EXPECT_EQ(plane_.Get("run_cancel").receipt.FindString("status"), "cancelled");
}

// L41
TEST_F(EngineTest, ClaimsNothingWhereASessionCouldNotBeStarted) {
  world_.AddFake([](FakeJobView&) { return Exited(0); });
  world_.config.egress_proxy = "/nonexistent/writ-egress-proxy";
  plane_.Add(Draft("run_waits"));
  Result<std::optional<std::string>> ran = world_.Open().RunOnce(std::chrono::milliseconds(0));
  ASSERT_FALSE(ran);
  EXPECT_EQ(ran.error().code, "ready.egress_proxy");
  EXPECT_EQ(plane_.Calls("POST /v1/claims"), 0);
}

TEST_F(EngineTest, RefusesASecondRunnerInTheSameStateDirectory) {
  world_.AddFake([](FakeJobView&) { return Exited(0); });
  world_.Open();
  Result<runner::Identity> identity =
      runner::Enroll(world_.config, Secret("testkit-enroll-token"), clock_);
  ASSERT_TRUE(identity);
  auto second =
      runner::Engine::Create(world_.config, std::move(*identity), world_.registry, clock_, nullptr);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, "runner.locked");
}

// L38: what a killed runner left is closed by the next start, with one receipt.
TEST_F(EngineTest, ClosesARunThatAKilledRunnerLeftOpen) {
  test::FakeBackend& backend = world_.AddFake([](FakeJobView&) { return Exited(0); });
  plane_.Add(Draft("run_killed"));
  // As the dead runner did: claimed, noted, sent its first event, made a session.
  Result<runner::Identity> identity =
      runner::Enroll(world_.config, Secret("testkit-enroll-token"), clock_);
  ASSERT_TRUE(identity);
  {
    auto plane = runner::PlaneClient::Open(world_.config.plane, clock_);
    ASSERT_TRUE(plane);
    auto claim = plane->Claim(identity->token, "default", std::nullopt,
                              runner::Deadline::After(clock_, std::chrono::seconds(5)), {});
    ASSERT_TRUE(claim && *claim);
    auto journal = runner::OpenJournal(world_.config.state_dir, clock_);
    ASSERT_TRUE(journal);
    auto note = (*journal)->Begin(
        {(*claim)->run_id, (*claim)->contract, (*claim)->events, false, 0}, (*claim)->claim_token);
    ASSERT_TRUE(note);
    std::string name = "s-" + protocol::Sha256("run_killed").ToHex().substr(0, 24);
    std::filesystem::create_directories(world_.config.work_dir + "/sessions/" + name + "/tree");
    ASSERT_TRUE((*note)->NoteSession(name, "fake"));
  }
  world_.Open();
  EXPECT_EQ(backend.recovered, 1);
  FakePlane::Run run = plane_.Get("run_killed");
  EXPECT_EQ(run.completions, 1);
  EXPECT_EQ(run.receipt.FindString("status"), "failed");
  protocol::VerifyReport report = protocol::VerifyBundleValue(plane_.Bundle("run_killed"));
  EXPECT_TRUE(report.ok) << protocol::RenderText(report, "run_killed");
  world_.Open().Wait();
  EXPECT_EQ(world_.Sessions(), std::vector<std::string>());
}

}  // namespace
}  // namespace writ
