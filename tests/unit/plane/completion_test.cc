// What a runner sends back: chains that extend, receipts that fit, once.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <set>
#include <thread>

#include "test_plane.h"
#include "writ/protocol/bundle.h"
#include "writ/protocol/events.h"

namespace writ::test {
namespace {

using json::Array;
using json::Object;
using plane::Submission;
using std::chrono::milliseconds;

TEST(Events, AChainThatDoesNotExtendWhatIsStoredIsRefusedWholeWithTheReason) {
  TestPlane plane;
  TestRunner runner(*plane, plane.local);
  auto run = Submit(plane);
  auto claim = Claimed(plane, runner);
  auto finished = FinishClaim(claim, runner, plane.clock.Now());
  const std::vector<json::Value> events = finished.events.array();
  auto rejection = [&](Array batch) {
    auto answer = plane->AppendEvents(run, claim.claim_token, json::Value(std::move(batch)));
    if (!answer) return answer.error().message;
    EXPECT_FALSE(answer->accepted);
    return answer->rejection;
  };
  EXPECT_EQ(rejection({events[1]}), "event chain rejected at seq 3: sequence gap");
  EXPECT_EQ(rejection({events[0], events[2]}), "event chain rejected at seq 4: sequence gap");
  Object wrong_prev = events[0].object();
  wrong_prev.Set("prev", std::string(64, '0'));
  EXPECT_EQ(rejection({wrong_prev}), "event chain rejected at seq 3: prev mismatch");
  Object wrong_hash = events[0].object();
  wrong_hash.Set("ts", "2030-01-01T00:00:00.000Z");
  EXPECT_EQ(rejection({wrong_hash}), "event chain rejected at seq 3: hash mismatch");
  EXPECT_EQ(EventTypes(plane, run).size(), 3u) << "nothing of a refused batch is kept";
}

TEST(Events, TheRunnerCannotWriteWhatOnlyThePlaneWrites) {
  TestPlane plane;
  TestRunner runner(*plane, plane.local);
  auto run = Submit(plane);
  auto claim = Claimed(plane, runner);
  std::vector<protocol::Event> events;
  for (const auto& text : claim.events)
    events.push_back(protocol::Event::Parse(json::Parse(text).value()).value());
  auto hash = protocol::Contract::Parse(json::Parse(claim.contract).value())->Hash();
  auto forge = [&](json::Value body) {
    auto chain = protocol::EventChain::FromEvents(hash, events).value();
    auto event = chain.Append(plane.clock.Now(), std::move(body));
    return plane->AppendEvents(run, claim.claim_token, Array{event.ToJson()})->rejection;
  };
  protocol::SecretGrant grant{protocol::SecretName::Parse("TOKEN").value(), "pool:default"};
  EXPECT_EQ(forge(protocol::events::SecretReleased(grant)),
            "event chain rejected at seq 3: secret.released is written by the plane only");
  EXPECT_EQ(forge(protocol::events::ConsentGranted({protocol::ActorKind::kHuman, "boss"})),
            "event chain rejected at seq 3: consent.granted is written by the plane only");
  EXPECT_EQ(forge(protocol::events::RunCreated()),
            "event chain rejected at seq 3: run.created is written by the plane only");
}

TEST(Events, NothingFollowsATerminalEvent) {
  TestPlane plane;
  TestRunner runner(*plane, plane.local);
  auto run = Submit(plane);
  auto claim = Claimed(plane, runner);
  auto finished = FinishClaim(claim, runner, plane.clock.Now());
  ASSERT_TRUE(plane->AppendEvents(run, claim.claim_token, finished.events)->accepted);
  auto events = protocol::Event::ParseAll(finished.events).value();
  protocol::EventChain chain(
      protocol::ChainHead{events.back().seq + 1, events.back().hash, events.back().ts});
  auto more = chain.Append(plane.clock.Now(), protocol::events::RunCompleted());
  EXPECT_EQ(plane->AppendEvents(run, claim.claim_token, Array{more.ToJson()})->rejection,
            "event chain rejected at seq 6: the chain has ended");
}

class Completing : public ::testing::Test {
 protected:
  void SetUp() override {
    run = Submit(plane);
    claim = Claimed(plane, runner);
    finished = FinishClaim(claim, runner, plane.clock.Now());
    ASSERT_TRUE(plane->AppendEvents(run, claim.claim_token, finished.events)->accepted);
  }
  std::string Refusal(const json::Value& receipt, const std::string& runner_token = "") {
    auto done = plane->Complete(run, claim.claim_token, receipt, runner_token);
    return done ? "accepted" : done.error().message;
  }
  // A receipt with a member changed, signed again by `key`.
  json::Value Changed(const Object& changes, const protocol::PrivateKey& key) {
    Object receipt = finished.receipt.object();
    for (const auto& member : changes) receipt.Set(member.name, member.value);
    auto signature = protocol::SignDigest(
        key, protocol::Signer::kRunner, protocol::HashWithout(json::Value(receipt), "signatures"));
    receipt.Set("signatures", protocol::SignaturesToJson({signature}));
    return receipt;
  }
  TestPlane plane;
  TestRunner runner{*plane, plane.local};
  std::string run;
  plane::Claim claim;
  FinishedRun finished;
};

TEST_F(Completing, IsCountersignedOnceAndTheSecondTimeIsAConflict) {
  auto done = plane->Complete(run, claim.claim_token, finished.receipt, "");
  ASSERT_TRUE(done) << done.error().ToString();
  EXPECT_FALSE(done->replayed);
  auto again = plane->Complete(run, claim.claim_token, finished.receipt, "");
  ASSERT_TRUE(again);
  EXPECT_TRUE(again->replayed) << "the same receipt after a lost answer";
  EXPECT_EQ(again->receipt, done->receipt);
  auto other = plane->Complete(run, claim.claim_token, Changed({{"costUsd", 1}}, runner.key), "");
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().kind, ErrorKind::kConflict);
  EXPECT_EQ(other.error().message, "claim token already used for completion");
  plane.Reopen();  // the ledger is durable
  EXPECT_FALSE(plane->Complete(run, claim.claim_token, Changed({{"costUsd", 1}}, runner.key), ""));
}

TEST_F(Completing, RefusesAReceiptThatDoesNotFitContractChainOrRunner) {
  auto other = protocol::PrivateKey::Generate();
  EXPECT_NE(Refusal(Changed({}, other)), "accepted");
  EXPECT_NE(Refusal(Changed({{"runId", "run_other"}}, runner.key)), "accepted");
  EXPECT_NE(Refusal(Changed({{"contractHash", std::string(64, '1')}}, runner.key)), "accepted");
  EXPECT_NE(Refusal(Changed({{"eventsHead", std::string(64, '1')}}, runner.key)), "accepted");
  EXPECT_NE(Refusal(Changed({{"eventCount", 5}}, runner.key)), "accepted");
  EXPECT_NE(Refusal(Changed({{"status", "failed"}}, runner.key)), "accepted");
  EXPECT_NE(Refusal(Changed({{"networkAccessed",
                              Array{Object{{"host", "a.example"}, {"decision", "allowed"}}}}},
                            runner.key)),
            "accepted");
  EXPECT_NE(
      Refusal(Changed(
          {{"secretsReleased",
            Array{Object{{"name", "A"}, {"scope", "b"}, {"ts", "2026-01-01T00:00:00.000Z"}}}}},
          runner.key)),
      "accepted");
  Object unsigned_receipt = finished.receipt.object();
  unsigned_receipt.Set("signatures", Array{});
  EXPECT_NE(Refusal(unsigned_receipt), "accepted");
  EXPECT_NE(Refusal(Object{}), "accepted");
  EXPECT_EQ(plane->Run(run)->receipt, "");
  EXPECT_EQ(Refusal(finished.receipt), "accepted") << "a refused receipt uses nothing up";
}

TEST_F(Completing, TwoThreadsCompleteOnce) {
  std::atomic<int> first{0};
  std::atomic<int> replayed{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      auto done = plane->Complete(run, claim.claim_token, finished.receipt, "");
      if (done) ++(done->replayed ? replayed : first);
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(first.load(), 1);
  EXPECT_EQ(replayed.load(), 3);
}

TEST_F(Completing, AfterTheTokensEndNeedsTheRunnersOwnToken) {
  plane.clock.Advance(std::chrono::minutes(69));
  ASSERT_TRUE(plane->AuthenticateClaim(claim.claim_token)) << "ten minutes of time-out and an hour";
  plane.clock.Advance(std::chrono::minutes(2));
  EXPECT_EQ(plane->AppendEvents(run, claim.claim_token, Array{}).error().message,
            "claim token has expired");
  EXPECT_EQ(Refusal(finished.receipt), "claim token has expired");
  TestRunner stranger(*plane, plane.local);
  EXPECT_EQ(Refusal(finished.receipt, stranger.token), "invalid runner token");
  EXPECT_EQ(Refusal(finished.receipt, runner.token), "accepted");
}

TEST_F(Completing, AClaimTokenOpensItsOwnRunOnlyAndCannotBeMadeUp) {
  auto other_run = Submit(plane);
  EXPECT_EQ(plane->Complete(other_run, claim.claim_token, finished.receipt, "").error().message,
            "claim token run mismatch");
  std::string forged = claim.claim_token;
  forged[10] = forged[10] == 'A' ? 'B' : 'A';
  EXPECT_EQ(plane->Complete(run, forged, finished.receipt, "").error().code, "unauthorized");
  EXPECT_EQ(plane->Complete(run, "garbage", finished.receipt, "").error().message,
            "malformed claim token");
}

}  // namespace
}  // namespace writ::test
