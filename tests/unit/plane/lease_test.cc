// Leases: renewal, what a renewal tells, fresh claim tokens, and who may renew.
#include "lease_test.h"

#include <atomic>
#include <thread>

namespace writ::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

class Leases : public ::testing::Test {
 protected:
  void SetUp() override {
    run = Submit(plane);
    claim = Acknowledged(plane, runner);
  }
  Result<plane::LeaseAnswer> Renew(milliseconds wait = milliseconds(0)) {
    return plane->Lease(run, {.claim_token = claim.claim_token, .wait = wait});
  }
  std::string Code(const Result<plane::LeaseAnswer>& answer) {
    return answer ? "renewed" : answer.error().code;
  }
  bool Lost() { return !plane->Run(run)->summary.closed_reason.empty(); }
  TestPlane plane;
  TestRunner runner{*plane, plane.local};
  std::string run;
  plane::Claim claim;
};

TEST_F(Leases, ARunThatRenewsIsNeverLostHoweverLongItTakes) {
  for (int i = 0; i < 40; ++i) {
    PassTime(plane, seconds(50));
    ASSERT_EQ(Code(Renew()), "renewed") << i;
  }
  EXPECT_FALSE(Lost());
  PassTime(plane, minutes(10));  // a lease of a minute and a grace of ten
  EXPECT_FALSE(Lost());
  ASSERT_EQ(Code(Renew()), "renewed") << "within the grace a runner may come back";
  PassTime(plane, minutes(11) + seconds(10));
  EXPECT_TRUE(Lost());
  EXPECT_EQ(Code(Renew()), "run.ended");
}

TEST_F(Leases, TheClaimTokenIsRenewedInTheSecondHalfOfItsLifeAndTheOldOneLivesOn) {
  EXPECT_EQ(Renew()->claim_token, "");
  // Ten minutes of time-out and an hour: its half are 35 minutes.
  for (int i = 0; i < 36; ++i) {
    PassTime(plane, minutes(1));
    if (i < 34) {
      ASSERT_EQ(Renew()->claim_token, "") << i;
    }
  }
  auto renewed = Renew();
  ASSERT_TRUE(renewed);
  ASSERT_NE(renewed->claim_token, "");
  EXPECT_TRUE(plane->AuthenticateClaim(claim.claim_token));
  EXPECT_TRUE(plane->AuthenticateClaim(renewed->claim_token));
  for (int i = 0; i < 36; ++i) {
    PassTime(plane, minutes(1));
    ASSERT_TRUE(plane->Lease(run, {.claim_token = renewed->claim_token}));
  }
  EXPECT_EQ(plane->AuthenticateClaim(claim.claim_token).error().code, "unauthorized");
  auto finished = FinishClaim(claim, runner, plane.clock.Now());
  auto events = plane->AppendEvents(run, renewed->claim_token, finished.events);
  ASSERT_TRUE(events && events->accepted);
  auto done = plane->Complete(run, renewed->claim_token, finished.receipt, "");
  ASSERT_TRUE(done) << done.error().ToString();
  auto again = plane->Complete(run, claim.claim_token, finished.receipt, "");
  ASSERT_TRUE(again) << "the same receipt under another of the run's tokens";
  EXPECT_TRUE(again->replayed);
}

TEST_F(Leases, ATokenThatHasRunOutRenewsWithTheRunnersOwn) {
  plane.clock.Advance(minutes(71));  // no plane was there meanwhile
  EXPECT_EQ(Code(Renew()), "unauthorized");
  TestRunner stranger(*plane, plane.local);
  EXPECT_EQ(
      Code(plane->Lease(run, {.claim_token = claim.claim_token, .runner_token = stranger.token})),
      "unauthorized");
  auto renewed =
      plane->Lease(run, {.claim_token = claim.claim_token, .runner_token = runner.token});
  ASSERT_TRUE(renewed) << renewed.error().ToString();
  EXPECT_NE(renewed->claim_token, "");
}

TEST_F(Leases, ACancellationIsToldAtOnceToOneWhoWaitsWithWhoAskedForIt) {
  PassTime(plane, seconds(2));
  Result<plane::LeaseAnswer> told = plane::LeaseAnswer{};
  std::thread waiting([&] { told = Renew(seconds(25)); });
  ASSERT_TRUE(plane->Cancel(plane.local, run, plane::Actor{plane::ActorKind::kHuman, "demo"}));
  waiting.join();
  ASSERT_TRUE(told) << told.error().ToString();
  EXPECT_TRUE(told->cancel_requested);
  ASSERT_TRUE(told->cancelled_by);
  EXPECT_EQ(told->cancelled_by->id, "demo");
  // And by every other call of a run.
  auto answer = plane->AppendEvents(run, claim.claim_token, json::Array{});
  ASSERT_TRUE(answer);
  EXPECT_TRUE(answer->cancel_requested);
}

TEST_F(Leases, ARunnerThatCallsInACircleIsNotAnsweredAsFastAsItCalls) {
  ASSERT_TRUE(plane->Cancel(plane.local, run, std::nullopt));
  PassTime(plane, seconds(2));
  ASSERT_TRUE(Renew(seconds(25)));
  // The same word again within the second: held, so that a circle is no storm.
  std::atomic<bool> answered{false};
  std::atomic<bool> gone{false};
  std::thread again([&] {
    auto held =
        plane->Lease(run, {.claim_token = claim.claim_token, .wait = seconds(25), .abandoned = [&] {
                             return gone.load();
                           }});
    answered = true;
    EXPECT_TRUE(held && held->cancel_requested);
  });
  gone = true;  // the one who asked has left: the call ends
  again.join();
  EXPECT_TRUE(answered);
}

TEST_F(Leases, RevocationAndRotationWakeOneWhoWaits) {
  PassTime(plane, seconds(2));
  Result<plane::LeaseAnswer> told = plane::LeaseAnswer{};
  std::thread waiting([&] { told = Renew(seconds(25)); });
  ASSERT_TRUE(plane->AskRotation(plane.local, runner.id));
  waiting.join();
  ASSERT_TRUE(told);
  EXPECT_TRUE(told->rotate);
  std::thread revoked(
      [&] { told = plane->Lease(run, {.claim_token = claim.claim_token, .wait = seconds(25)}); });
  ASSERT_TRUE(plane->RevokeRunner(plane.local, runner.id));
  revoked.join();
  // Told that it rotates, or already that it is revoked: the next call says it in any case.
  if (!told) {
    EXPECT_EQ(told.error().code, "runner.revoked");
  }
  EXPECT_EQ(Code(Renew()), "runner.revoked");
}

TEST_F(Leases, RevocationBitesAtEveryCallDuringARunAndThePlaneClosesIt) {
  auto finished = FinishClaim(claim, runner, plane.clock.Now());
  ASSERT_TRUE(plane->RevokeRunner(plane.local, runner.id));
  auto code = [](const auto& result) { return result ? "taken" : result.error().code; };
  EXPECT_EQ(code(Renew()), "runner.revoked");
  EXPECT_EQ(code(plane->AppendEvents(run, claim.claim_token, finished.events)), "runner.revoked");
  EXPECT_EQ(code(plane->AppendLog(run, claim.claim_token, plane::LogStream::kOutput, 0, "x")),
            "runner.revoked");
  EXPECT_EQ(code(plane->AuthenticateClaim(claim.claim_token)), "runner.revoked") << "blobs";
  EXPECT_EQ(code(plane->Acknowledge(run, claim.claim_token)), "runner.revoked");
  EXPECT_EQ(code(plane->TakeOffer(runner.token, "default", milliseconds(0))), "runner.revoked");
  EXPECT_FALSE(plane->Complete(run, claim.claim_token, finished.receipt, ""));
  EXPECT_EQ(code(plane->Late(run, {.runner_token = runner.token,
                                   .events = finished.events,
                                   .receipt = finished.receipt})),
            "runner.revoked");
  const auto summary = plane->Run(run)->summary;
  EXPECT_EQ(summary.closed_reason, plane::kClosedRunnerRevoked);
  EXPECT_TRUE(summary.has_receipt);
}

TEST_F(Leases, ReceiptsOfARevokedRunnerStillVerify) {
  auto finished = FinishClaim(claim, runner, plane.clock.Now());
  ASSERT_TRUE(plane->AppendEvents(run, claim.claim_token, finished.events)->accepted);
  ASSERT_TRUE(plane->Complete(run, claim.claim_token, finished.receipt, ""));
  const auto before = plane->Bundle(run).value();
  ASSERT_TRUE(plane->RevokeRunner(plane.local, runner.id));
  EXPECT_EQ(plane->Bundle(run).value(), before);
}

TEST_F(Leases, AnOlderClaimHasALeaseOnlyOnceItAskedForOne) {
  auto second = Submit(plane, {.prompt = "older"});
  auto older = Claimed(plane, runner);
  ASSERT_EQ(older.run_id, second);
  PassTime(plane, minutes(30));
  EXPECT_TRUE(plane->Run(second)->summary.closed_reason.empty()) << "it never promised to call";
  ASSERT_TRUE(plane->Lease(second, {.claim_token = older.claim_token}));
  PassTime(plane, minutes(12));
  EXPECT_EQ(plane->Run(second)->summary.closed_reason, plane::kClosedLeaseExpired);
}

TEST_F(Leases, AnothersTokenRenewsNothing) {
  TestRunner other(*plane, plane.local);
  auto second = Submit(plane, {.prompt = "second"});
  auto others = Acknowledged(plane, other);
  EXPECT_EQ(Code(plane->Lease(run, {.claim_token = others.claim_token})), "unauthorized");
  EXPECT_EQ(Code(plane->Lease(second, {.claim_token = claim.claim_token})), "unauthorized");
  EXPECT_EQ(Code(plane->Lease(run, {.claim_token = "garbage"})), "claim.malformed");
}

TEST_F(Leases, AnEndedRunIsRenewedByNobody) {
  auto finished = FinishClaim(claim, runner, plane.clock.Now());
  ASSERT_TRUE(plane->AppendEvents(run, claim.claim_token, finished.events)->accepted);
  ASSERT_TRUE(plane->Complete(run, claim.claim_token, finished.receipt, ""));
  EXPECT_EQ(Code(Renew()), "run.ended");
  EXPECT_EQ(Code(Renew(seconds(20))), "run.ended") << "without waiting";
  EXPECT_EQ(plane->Decline(run, claim.claim_token, "").error().code, "run.ended");
}

TEST_F(Leases, AnInterruptedPlaneAnswersThoseWhoWait) {
  PassTime(plane, seconds(2));
  Result<plane::LeaseAnswer> told = plane::LeaseAnswer{};
  std::thread waiting([&] { told = Renew(seconds(25)); });
  plane->Interrupt();
  waiting.join();
  EXPECT_TRUE(told);
}

// L42: what a file asks for is brought into bounds that make sense.
TEST(LeaseConfig, IsClamped) {
  auto lease = [](const char* text) {
    return plane::ParseConfig(std::string(R"({"version":"writ.config.v1","plane":{"lease":)") +
                              text + "}}");
  };
  auto low = lease(R"({"seconds":0,"graceSeconds":0,"offerSeconds":0,"maxAttempts":0})");
  ASSERT_TRUE(low) << low.error().ToString();
  EXPECT_EQ(low->lease.lease, seconds(10));
  EXPECT_EQ(low->lease.grace, seconds(0));
  EXPECT_EQ(low->lease.offer, seconds(2));
  EXPECT_EQ(low->lease.max_attempts, 1u);
  auto high = lease(
      R"({"seconds":99999999,"graceSeconds":99999999,"offerSeconds":99999999,"maxAttempts":999999})");
  ASSERT_TRUE(high);
  EXPECT_EQ(high->lease.lease, seconds(3600));
  EXPECT_EQ(high->lease.grace, seconds(7 * 86400));
  EXPECT_EQ(high->lease.offer, seconds(300));
  EXPECT_EQ(high->lease.max_attempts, 20u);
  EXPECT_EQ(lease(R"({"seconds":120})")->lease.lease, seconds(120));
  EXPECT_FALSE(lease(R"({"second":120})")) << "an unknown member";
  EXPECT_FALSE(lease(R"({"seconds":"60"})"));
}

}  // namespace
}  // namespace writ::test
