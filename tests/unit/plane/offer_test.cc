// Offers: what nobody acknowledged never happened; what was acknowledged is one runner's.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "test_plane.h"

namespace writ::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kNoWait{0};

class Offers : public ::testing::Test {
 protected:
  std::optional<plane::Offer> Take(const TestRunner& who) {
    auto answer = plane->TakeOffer(who.token, who.pool, kNoWait);
    EXPECT_TRUE(answer) << (answer ? "" : answer.error().ToString());
    return answer ? std::move(answer->offer) : std::nullopt;
  }
  std::string Code(const Result<plane::Acknowledgement>& taken) {
    return taken ? "taken" : taken.error().code;
  }
  protocol::RunState State(const std::string& run) { return plane->Run(run)->summary.status; }
  TestPlane plane;
  TestRunner runner{*plane, plane.local};
  TestRunner other{*plane, plane.local};
};

TEST_F(Offers, AnOfferedRunStaysCreatedIsShownToNobodyElseAndItsChainHasNothingOfIt) {
  auto run = Submit(plane);
  const auto before = EventTypes(plane, run);
  auto offer = Take(runner);
  ASSERT_TRUE(offer);
  EXPECT_EQ(offer->run_id, run);
  EXPECT_EQ(offer->lasts, seconds(10));
  EXPECT_EQ(offer->events.size(), before.size());
  EXPECT_EQ(State(run), protocol::RunState::kCreated);
  EXPECT_EQ(EventTypes(plane, run), before);
  EXPECT_FALSE(Take(other));
  EXPECT_FALSE(Take(runner)) << "not twice to the same runner either: it may have several slots";
  EXPECT_FALSE(plane->Claim(other.token, "default", kNoWait).value()) << "nor to an older runner";
}

TEST_F(Offers, TheTokenOfAnOfferOpensNothingBeforeItIsAcknowledged) {
  auto run = Submit(plane);
  auto offer = Take(runner);
  ASSERT_TRUE(offer);
  EXPECT_EQ(plane->AuthenticateClaim(offer->claim_token).error().code, "unauthorized");
  EXPECT_EQ(plane->AppendEvents(run, offer->claim_token, json::Array{}).error().code,
            "unauthorized");
  EXPECT_EQ(
      plane->AppendLog(run, offer->claim_token, plane::LogStream::kOutput, 0, "x").error().code,
      "unauthorized");
  EXPECT_EQ(plane->Lease(run, {.claim_token = offer->claim_token}).error().code,
            "claim.not_acknowledged");
  EXPECT_EQ(plane->Complete(run, offer->claim_token, json::Object{}, "").error().code,
            "unauthorized");
}

TEST_F(Offers, AnAcknowledgementWritesTheClaimAndBeginsTheLease) {
  auto run = Submit(plane);
  auto offer = Take(runner);
  auto taken = plane->Acknowledge(run, offer->claim_token);
  ASSERT_TRUE(taken) << taken.error().ToString();
  EXPECT_EQ(EventTypes(plane, run).back(), "run.claimed");
  EXPECT_EQ(taken->events.size(), offer->events.size() + 1);
  EXPECT_EQ(taken->times.lease, seconds(60));
  EXPECT_EQ(taken->times.renew_after, seconds(20));
  EXPECT_EQ(State(run), protocol::RunState::kClaimed);
  EXPECT_TRUE(plane->AuthenticateClaim(offer->claim_token));
}

TEST_F(Offers, RepeatingAnAcknowledgementGivesTheSameAnswerUntilTheRunnerHasBegun) {
  auto run = Submit(plane);
  auto offer = Take(runner);
  auto first = plane->Acknowledge(run, offer->claim_token);
  ASSERT_TRUE(first);
  plane.clock.Advance(seconds(30));  // past the offer's end: it was taken in time
  auto second = plane->Acknowledge(run, offer->claim_token);
  ASSERT_TRUE(second) << second.error().ToString();
  EXPECT_EQ(second->events, first->events);
  plane::Claim claim{.run_id = run,
                     .contract = offer->contract,
                     .claim_token = offer->claim_token,
                     .events = first->events,
                     .secrets = {}};
  auto finished = FinishClaim(claim, runner, plane.clock.Now());
  ASSERT_TRUE(plane->AppendEvents(run, offer->claim_token, finished.events)->accepted);
  EXPECT_EQ(Code(plane->Acknowledge(run, offer->claim_token)), "claim.started");
  ASSERT_TRUE(plane->Complete(run, offer->claim_token, finished.receipt, ""));
  EXPECT_EQ(Code(plane->Acknowledge(run, offer->claim_token)), "run.ended");
}

TEST_F(Offers, AnOfferThatHasRunOutGoesBackAndItsTokenIsWorthNothing) {
  auto run = Submit(plane);
  auto first = Take(runner);
  plane.clock.Advance(seconds(10));
  EXPECT_EQ(Code(plane->Acknowledge(run, first->claim_token)), "offer.expired");
  auto second = Take(other);
  ASSERT_TRUE(second);
  EXPECT_EQ(Code(plane->Acknowledge(run, first->claim_token)), "offer.expired");
  EXPECT_TRUE(plane->Decline(run, first->claim_token, "too late")) << "and gives nothing back";
  EXPECT_EQ(Code(plane->Acknowledge(run, second->claim_token)), "taken");
  EXPECT_EQ(Code(plane->Acknowledge(run, first->claim_token)), "offer.expired");
}

TEST_F(Offers, ADeclinedRunIsBackAtOnceButNotForTheOneWhoDeclined) {
  auto run = Submit(plane);
  auto offer = Take(runner);
  ASSERT_TRUE(plane->Decline(run, offer->claim_token, "draining"));
  EXPECT_EQ(Code(plane->Acknowledge(run, offer->claim_token)), "offer.expired");
  EXPECT_FALSE(Take(runner)) << "it would decline for the same reason";
  auto next = Take(other);
  ASSERT_TRUE(next);
  ASSERT_TRUE(plane->Decline(run, next->claim_token, "no disk"));
  plane.clock.Advance(seconds(10));
  EXPECT_TRUE(Take(runner));
}

TEST_F(Offers, WhatWasAcknowledgedCannotBeDeclined) {
  auto run = Submit(plane);
  auto offer = Take(runner);
  ASSERT_TRUE(plane->Acknowledge(run, offer->claim_token));
  auto declined = plane->Decline(run, offer->claim_token, "changed my mind");
  ASSERT_FALSE(declined);
  EXPECT_EQ(declined.error().code, "claim.acknowledged");
  EXPECT_EQ(State(run), protocol::RunState::kClaimed);
}

TEST_F(Offers, ACancelledOfferedRunEndsAtOnceAndCannotBeTakenUp) {
  auto run = Submit(plane);
  auto offer = Take(runner);
  ASSERT_TRUE(plane->Cancel(plane.local, run, std::nullopt));
  EXPECT_EQ(State(run), protocol::RunState::kCancelled);
  EXPECT_EQ(Code(plane->Acknowledge(run, offer->claim_token)), "run.ended");
  EXPECT_EQ(plane->Decline(run, offer->claim_token, "").error().code, "run.ended");
  EXPECT_EQ(plane->Lease(run, {.claim_token = offer->claim_token}).error().code, "run.ended");
}

TEST_F(Offers, AContractThatExpiresWhileItIsOfferedIsNotClaimed) {
  auto run = Submit(plane);
  plane.clock.Advance(seconds(3595));
  auto offer = Take(runner);
  ASSERT_TRUE(offer);
  plane.clock.Advance(seconds(6));
  EXPECT_EQ(Code(plane->Acknowledge(run, offer->claim_token)), "offer.expired");
  ASSERT_TRUE(plane->Sweep());
  EXPECT_EQ(State(run), protocol::RunState::kFailed);
  EXPECT_EQ(Code(plane->Acknowledge(run, offer->claim_token)), "run.ended");
}

TEST_F(Offers, ARevokedRunnerCanNeitherTakeNorAcknowledgeNorDecline) {
  auto run = Submit(plane);
  auto offer = Take(runner);
  ASSERT_TRUE(plane->RevokeRunner(plane.local, runner.id));
  EXPECT_EQ(plane->TakeOffer(runner.token, "default", kNoWait).error().code, "runner.revoked");
  EXPECT_EQ(plane->Claim(runner.token, "default", kNoWait).error().code, "runner.revoked");
  EXPECT_EQ(Code(plane->Acknowledge(run, offer->claim_token)), "runner.revoked");
  EXPECT_EQ(plane->Decline(run, offer->claim_token, "").error().code, "runner.revoked");
}

TEST_F(Offers, AnothersTokenAForgedOneAndAnotherRunsOpenNothing) {
  auto run = Submit(plane);
  auto second_run = Submit(plane, {.prompt = "another"});
  auto offer = Take(runner);
  auto second = Take(other);
  EXPECT_EQ(Code(plane->Acknowledge(run, second->claim_token)), "unauthorized");
  std::string forged = offer->claim_token;
  forged[12] = forged[12] == 'A' ? 'B' : 'A';
  EXPECT_EQ(Code(plane->Acknowledge(run, forged)), "unauthorized");
  EXPECT_EQ(Code(plane->Acknowledge("run_nobody", offer->claim_token)), "unauthorized");
  EXPECT_EQ(Code(plane->Acknowledge(second_run, second->claim_token)), "taken");
}

TEST_F(Offers, SurviveARestartOfThePlane) {
  auto run = Submit(plane);
  auto offer = Take(runner);
  plane.Reopen();
  EXPECT_FALSE(Take(other));
  EXPECT_EQ(Code(plane->Acknowledge(run, offer->claim_token)), "taken");
  plane.Reopen();
  EXPECT_EQ(Code(plane->Acknowledge(run, offer->claim_token)), "taken");
}

// L39: each change names the state it expects.
TEST_F(Offers, ManyRunnersAtOnceGetEachRunOnceAndOneAcknowledgementWinsAgainstAnExpiry) {
  constexpr int kRuns = 12;
  for (int i = 0; i < kRuns; ++i) Submit(plane, {.prompt = "run " + std::to_string(i)});
  std::atomic<int> taken{0};
  std::atomic<int> refused{0};
  std::vector<std::thread> threads;
  for (const TestRunner* who : {&runner, &other, &runner, &other}) {
    threads.emplace_back([&, who] {
      for (;;) {
        auto offer = plane->TakeOffer(who->token, "default", kNoWait);
        if (!offer || !offer->offer) return;
        // Two threads of the same runner acknowledge; one of them may lose, never both win.
        std::thread twin(
            [&] { (void)plane->Acknowledge(offer->offer->run_id, offer->offer->claim_token); });
        auto done = plane->Acknowledge(offer->offer->run_id, offer->offer->claim_token);
        twin.join();
        ++(done ? taken : refused);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(taken.load(), kRuns);
  EXPECT_EQ(refused.load(), 0);
  const auto runs = plane->Runs().value();
  for (const auto& run : runs) {
    const auto types = EventTypes(plane, run.run_id);
    EXPECT_EQ(std::count(types.begin(), types.end(), "run.claimed"), 1);
  }
}

TEST_F(Offers, AWaitingRunnerGetsWhatAnotherDeclined) {
  auto run = Submit(plane);
  auto offer = Take(runner);
  std::optional<plane::Offer> got;
  std::thread waiting([&] {
    auto answer = plane->TakeOffer(other.token, "default", seconds(20));
    if (answer) got = std::move(answer->offer);
  });
  ASSERT_TRUE(plane->Decline(run, offer->claim_token, "busy"));
  waiting.join();
  ASSERT_TRUE(got);
  EXPECT_EQ(got->run_id, run);
}

TEST(OfferedSecrets, AreReleasedByTheAcknowledgementOnlyAndAgainWhenItIsRepeated) {
  TestPlane plane(SecretPolicy());
  TestRunner runner(*plane, plane.local);
  ASSERT_TRUE(plane->SetSecret(plane.local, "TOKEN", "pool:default", Secret("hunter2")));
  auto run = Submit(plane, {.secrets = {"TOKEN"}});
  auto offer = plane->TakeOffer(runner.token, "default", kNoWait)->offer;
  ASSERT_TRUE(offer);
  auto released = [&] {
    const auto types = EventTypes(plane, run);
    return std::count(types.begin(), types.end(), "secret.released");
  };
  EXPECT_EQ(released(), 0);
  for (int call = 0; call < 2; ++call) {
    auto taken = plane->Acknowledge(run, offer->claim_token);
    ASSERT_TRUE(taken) << taken.error().ToString();
    ASSERT_EQ(taken->secrets.size(), 1u);
    EXPECT_EQ(taken->secrets[0].value.Reveal(), "hunter2");
    EXPECT_EQ(released(), 1);
  }
}

TEST(OfferedSecrets, ThatCannotBeReleasedEndTheRunBeforeItIsClaimed) {
  TestPlane plane(SecretPolicy());
  TestRunner runner(*plane, plane.local);
  ASSERT_TRUE(plane->SetSecret(plane.local, "TOKEN", "pool:default", Secret("hunter2")));
  auto run = Submit(plane, {.secrets = {"TOKEN"}});
  auto offer = plane->TakeOffer(runner.token, "default", kNoWait)->offer;
  ASSERT_TRUE(plane->RemoveSecret(plane.local, "TOKEN", "pool:default"));
  auto taken = plane->Acknowledge(run, offer->claim_token);
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code, "run.ended");
  EXPECT_EQ(plane->Run(run)->summary.status, protocol::RunState::kFailed);
  const auto types = EventTypes(plane, run);
  EXPECT_EQ(std::count(types.begin(), types.end(), "run.claimed"), 0);
}

}  // namespace
}  // namespace writ::test
