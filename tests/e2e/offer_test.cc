// Offers: noted, acknowledged, declined, expired; and what a runner that died had noted.
#include "e2e/support/leased_world.h"
#include "writ/protocol/bundle.h"
#include "writ/runner/journal.h"
#include "writ/runner/plane_client.h"

namespace writ {
namespace {

using test::FakeJobView;
using test::FakePlane;

using OfferTest = test::LeasedWorld;

// Whether the journal holds the run while a call is answered.
bool Noted(const runner::RunnerConfig& config, const std::string& run_id, bool offered) {
  SystemClock clock;
  auto journal = runner::OpenJournal(config.state_dir, clock);
  if (!journal) return false;
  auto open = (*journal)->FindOpen();
  if (!open) return false;
  for (const runner::OpenRun& run : *open)
    if (run.claim.run_id.text() == run_id) return run.claim.offered == offered;
  return false;
}

TEST_F(OfferTest, IsNotedBeforeItIsAcknowledgedAndCarriesTheSecretsOnlyThen) {
  std::string seen;
  world_.AddFake([&](FakeJobView& job) {
    seen = job.env.contains("KEY") ? job.env["KEY"] : "";
    return test::Exited(0);
  });
  protocol::Contract draft = Draft("run_offer");
  draft.secrets = {{protocol::SecretName::Parse("KEY").value(), "default"}};
  plane_.Add(std::move(draft), {{"KEY", "value-of-the-secret"}});
  std::atomic<bool> noted{false};
  plane_.SetFault(
      [&](const std::string&, const std::string& path) -> std::optional<FakePlane::Answer> {
        if (path.ends_with("/acknowledge")) noted = Noted(world_.config, "run_offer", true);
        return std::nullopt;
      });
  ASSERT_TRUE(world_.RunOne());
  EXPECT_TRUE(noted);
  EXPECT_EQ(seen, "value-of-the-secret");
  ExpectOneGoodReceipt("run_offer", "completed");
  FakePlane::Run run = plane_.Get("run_offer");
  EXPECT_EQ(run.offers, 1);
  EXPECT_EQ(run.acknowledgements, 1);
  EXPECT_GT(run.renewals, 0);
}

TEST_F(OfferTest, IsAskedForAgainWhereTheAnswerToItsAcknowledgementWasLost) {
  world_.AddFake([](FakeJobView&) { return test::Exited(0); });
  plane_.Add(Draft("run_again"));
  std::atomic<int> lost{0};
  plane_.SetFault(
      [&](const std::string&, const std::string& path) -> std::optional<FakePlane::Answer> {
        if (path.ends_with("/acknowledge") && lost++ < 2) return FakePlane::Answer{503, "{}"};
        return std::nullopt;
      });
  ASSERT_TRUE(world_.RunOne());
  EXPECT_EQ(lost, 3);
  ExpectOneGoodReceipt("run_again", "completed");
}

TEST_F(OfferTest, ThatHasRunOutIsDroppedAndNothingOfItIsLeft) {
  test::FakeBackend& backend = world_.AddFake([](FakeJobView&) { return test::Exited(0); });
  plane_.Add(Draft("run_gone"));
  plane_.SetFault(
      [](const std::string&, const std::string& path) -> std::optional<FakePlane::Answer> {
        if (path.ends_with("/acknowledge"))
          return FakePlane::Answer{409, R"({"error":"too late","code":"offer.expired"})"};
        return std::nullopt;
      });
  auto ran = world_.Open().RunOnce(std::chrono::milliseconds(0));
  ASSERT_TRUE(ran);
  EXPECT_FALSE(*ran);
  EXPECT_EQ(backend.prepared, 0);
  EXPECT_EQ(plane_.Get("run_gone").completions, 0);
  EXPECT_FALSE(Noted(world_.config, "run_gone", true));
}

// L40: a drain while the claim is held open.
TEST_F(OfferTest, IsDeclinedByARunnerThatDrains) {
  test::FakeBackend& backend = world_.AddFake([](FakeJobView&) { return test::Exited(0); });
  runner::Engine& engine = world_.Open();
  std::atomic<bool> asked{false};
  plane_.SetFault(
      [&](const std::string&, const std::string& path) -> std::optional<FakePlane::Answer> {
        // The drain comes while the offer is on its way, too late for the call to be given up.
        if (path == "/v1/claims" && !asked.exchange(true))
          engine.RequestStop(runner::StopMode::kDrain);
        return std::nullopt;
      });
  plane_.Add(Draft("run_declined"));
  ASSERT_TRUE(engine.Start());
  engine.Wait();
  FakePlane::Run run = plane_.Get("run_declined");
  // Given up or declined: in neither case ours.
  EXPECT_EQ(run.acknowledgements, 0);
  EXPECT_EQ(backend.prepared, 0);
}

// L41: what was ready before a long poll may not be ready after it.
TEST_F(OfferTest, IsDeclinedWhereTheHostIsNotReadyAnyMore) {
  test::FakeBackend& backend = world_.AddFake([](FakeJobView&) { return test::Exited(0); });
  runner::Engine& engine = world_.Open();
  plane_.SetFault(
      [&](const std::string&, const std::string& path) -> std::optional<FakePlane::Answer> {
        if (path == "/v1/claims") backend.usable = false;
        return std::nullopt;
      });
  plane_.Add(Draft("run_not_ready"));
  auto ran = engine.RunOnce(std::chrono::milliseconds(0));
  ASSERT_TRUE(ran);
  EXPECT_FALSE(*ran);
  FakePlane::Run run = plane_.Get("run_not_ready");
  EXPECT_EQ(run.declined, std::vector<std::string>{"the runner is not ready"});
  EXPECT_EQ(run.acknowledgements, 0);
}

// L38, L41: what may be ours already does not wait until the host is ready again.
TEST_F(OfferTest, WhoseFateIsNotKnownIsSettledThoughTheHostIsNotReady) {
  test::FakeBackend& backend = world_.AddFake([](FakeJobView&) { return test::Exited(0); });
  std::atomic<int> spoilt{0};
  plane_.SetFault(
      [&](const std::string&, const std::string& path) -> std::optional<FakePlane::Answer> {
        if (!path.ends_with("/acknowledge")) return std::nullopt;
        backend.usable = false;  // from now on
        if (spoilt++ == 0) return FakePlane::Answer{503, "{}"};
        return std::nullopt;
      });
  world_.config.call_timeout = std::chrono::milliseconds(200);
  plane_.Add(Draft("run_in_doubt"));
  plane_.SetLease({.offer_ms = 100});
  runner::Engine& engine = world_.Open();
  ASSERT_TRUE(engine.Start());
  EXPECT_TRUE(test::Eventually([&] {
    FakePlane::Run run = plane_.Get("run_in_doubt");
    return run.completions == 1 || !run.declined.empty();
  }));
  engine.RequestStop(runner::StopMode::kDrain);
  engine.Wait();
  EXPECT_FALSE(Noted(world_.config, "run_in_doubt", true));
}

// L38, at the two instants in which an offer can be when its runner dies.
TEST_F(OfferTest, OfADeadRunnerIsGivenBackOrEndsInItsReceipt) {
  world_.AddFake([](FakeJobView&) { return test::Exited(0); });
  Result<runner::Identity> identity =
      runner::Enroll(world_.config, Secret("testkit-enroll-token"), clock_);
  ASSERT_TRUE(identity);
  auto plane = runner::PlaneClient::Open(world_.config.plane, clock_);
  ASSERT_TRUE(plane);
  auto in_time = [&] { return runner::Deadline::After(clock_, std::chrono::seconds(5)); };
  for (const char* name : {"run_noted", "run_taken"}) {
    plane_.Add(Draft(name));
    auto offer = plane->Claim(identity->token, "default", std::nullopt, in_time(), {}, {},
                              runner::ClaimKind::kOffered);
    ASSERT_TRUE(offer && *offer && (*offer)->offer);
    auto journal = runner::OpenJournal(world_.config.state_dir, clock_);
    ASSERT_TRUE(journal);
    ASSERT_TRUE(
        (*journal)->Begin({(*offer)->run_id, (*offer)->contract, (*offer)->events, true, 0, true},
                          (*offer)->claim_token));
    if (std::string_view(name) == "run_taken") {
      ASSERT_TRUE(plane->Acknowledge((*offer)->run_id, (*offer)->claim_token, in_time(), {}));
    }
  }
  world_.Open();
  EXPECT_EQ(plane_.Get("run_noted").completions, 0);
  EXPECT_EQ(plane_.Get("run_noted").declined, std::vector<std::string>{"the runner was restarted"});
  FakePlane::Run taken = plane_.Get("run_taken");
  EXPECT_EQ(taken.completions, 1);
  EXPECT_EQ(taken.receipt.FindString("status"), "failed");
  protocol::VerifyReport report = protocol::VerifyBundleValue(plane_.Bundle("run_taken"));
  EXPECT_TRUE(report.ok) << protocol::RenderText(report, "run_taken");
  EXPECT_FALSE(Noted(world_.config, "run_noted", true));
  EXPECT_FALSE(Noted(world_.config, "run_taken", true));
}

// Negotiation: a plane without the extension sees none of it (its strictness is the test).
TEST(OfferNegotiation, AsksNothingOfAPlaneWithoutTheExtension) {
  SystemClock clock;
  FakePlane plane(clock, FakePlane::Dialect::kBase);
  FakePlane::LoadRecordedBlobs(plane);
  test::RunnerWorld world(plane, clock);
  world.AddFake([](FakeJobView& job) {
    job.Print("some output\n");
    return test::Exited(0);
  });
  plane.Add(plane.Draft("run_base"));
  ASSERT_TRUE(world.RunOne());
  EXPECT_EQ(plane.Get("run_base").completions, 1);
  EXPECT_EQ(plane.violations(), std::vector<std::string>());
  for (const char* call : {"acknowledge", "decline", "lease", "log", "late"})
    EXPECT_EQ(plane.Calls("POST /v1/runs/run_base/" + std::string(call)), 0) << call;
}

}  // namespace
}  // namespace writ
