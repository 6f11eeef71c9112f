// Runs whose runner was lost: exactly one receipt, repeated only where the contract says so, and
// what comes late is kept beside it.
#include <atomic>
#include <thread>

#include "lease_test.h"
#include "writ/protocol/bundle.h"
#include "writ/protocol/events.h"

namespace writ::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

protocol::VerifyReport Verified(TestPlane& plane, const std::string& bundle,
                                const TestRunner& runner) {
  protocol::VerifyOptions options;
  options.plane_key = protocol::PublicKey::FromPem(plane->public_key_pem()).value();
  options.runner_key = runner.key.Public();
  options.require_pinned = true;
  return protocol::VerifyBundle(bundle, options);
}

class LostRuns : public ::testing::Test {
 protected:
  void Begin(const RequestOptions& options = {}) {
    run = Submit(plane, options);
    claim = Acknowledged(plane, runner);
    ASSERT_EQ(claim.run_id, run);
    finished = FinishClaim(claim, runner, plane.clock.Now());
  }
  void Append(std::size_t count) {
    const auto& all = finished.events.array();
    json::Array some(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(count));
    auto answer = plane->AppendEvents(run, claim.claim_token, some);
    ASSERT_TRUE(answer && answer->accepted);
  }
  void Lose() { PassTime(plane, minutes(11) + seconds(10)); }
  plane::RunSummary Summary() { return plane->Run(run)->summary; }
  Status Late(const json::Value& events, const json::Value& receipt) {
    return plane->Late(run, {.claim_token = claim.claim_token,
                             .runner_token = runner.token,
                             .events = events,
                             .receipt = receipt});
  }
  TestPlane plane;
  TestRunner runner{*plane, plane.local};
  std::string run;
  plane::Claim claim;
  FinishedRun finished;
};

TEST_F(LostRuns, AreClosedByThePlaneWithAReceiptThatVerifies) {
  Begin();
  Append(1);
  const auto seen = plane.clock.Now();
  Lose();
  const auto summary = Summary();
  EXPECT_EQ(summary.status, protocol::RunState::kFailed);
  EXPECT_EQ(summary.closed_reason, plane::kClosedLeaseExpired);
  EXPECT_NE(summary.failure.find(FormatRfc3339(seen)), std::string::npos) << summary.failure;
  EXPECT_EQ(summary.retried_as, "") << "nobody said that the job may be repeated";
  EXPECT_EQ(EventTypes(plane, run).back(), "run.failed");
  auto report = Verified(plane, plane->Bundle(run).value(), runner);
  EXPECT_TRUE(report.ok) << protocol::RenderText(report, "lost");
  EXPECT_TRUE(report.closed_by_plane);
  EXPECT_EQ(plane->Runs()->size(), 1u);
}

TEST_F(LostRuns, AtEveryStateAfterTheClaimAreClosed) {
  for (std::size_t events : {std::size_t{0}, std::size_t{1}, std::size_t{2}, std::size_t{3}}) {
    Begin({.prompt = "with " + std::to_string(events)});
    if (events > 0) Append(events);
    Lose();
    EXPECT_EQ(Summary().closed_reason, plane::kClosedLeaseExpired) << events;
    auto report = Verified(plane, plane->Bundle(run).value(), runner);
    EXPECT_TRUE(report.ok) << events << "\n" << protocol::RenderText(report, "lost");
  }
  EXPECT_NE(Summary().failure.find("run.completed"), std::string::npos)
      << "that it had written its end and sent no receipt is said";
}

TEST_F(LostRuns, HearWhatHappenedAtEveryCall) {
  Begin();
  Lose();
  auto code = [](const auto& result) { return result ? "taken" : result.error().code; };
  EXPECT_EQ(code(plane->Lease(run, {.claim_token = claim.claim_token})), "run.ended");
  EXPECT_EQ(code(plane->AppendEvents(run, claim.claim_token, finished.events)), "run.ended");
  EXPECT_EQ(code(plane->AppendLog(run, claim.claim_token, plane::LogStream::kOutput, 0, "x")),
            "run.ended");
  auto done = plane->Complete(run, claim.claim_token, finished.receipt, "");
  EXPECT_EQ(code(done), "run.ended");
  EXPECT_NE(done.error().hint.find("/late"), std::string::npos);
  EXPECT_EQ(code(plane->Acknowledge(run, claim.claim_token)), "run.ended");
  EXPECT_EQ(code(plane->Cancel(plane.local, run, std::nullopt)), "run.ended");
  EXPECT_TRUE(plane->AuthenticateClaim(claim.claim_token)) << "blobs of a late receipt may come";
}

TEST_F(LostRuns, WithoutALeaseAreClosedWhenTheirTokenHasBeenOverForTheGrace) {
  run = Submit(plane);
  claim = Claimed(plane, runner);
  PassTime(plane, minutes(75));
  EXPECT_EQ(Summary().closed_reason, "") << "seventy minutes and a grace of ten";
  PassTime(plane, minutes(6));
  EXPECT_EQ(Summary().closed_reason, plane::kClosedLeaseExpired);
  EXPECT_TRUE(Verified(plane, plane->Bundle(run).value(), runner).ok);
}

TEST_F(LostRuns, AreNotThoseThatCouldNotRenewBecauseNoPlaneWasThere) {
  Begin();
  PassTime(plane, seconds(20));
  // Somebody looks at the directory again and again, and nobody serves.
  for (int i = 0; i < 45; ++i) {
    plane.clock.Advance(seconds(20));
    plane.Reopen();
  }
  EXPECT_EQ(Summary().closed_reason, "");
  plane.clock.Advance(minutes(180));
  plane.Reopen();
  ASSERT_TRUE(plane->SweepLeases());
  EXPECT_EQ(Summary().closed_reason, "");
  EXPECT_TRUE(plane->Lease(run, {.claim_token = claim.claim_token, .runner_token = runner.token}));
  plane.clock.Advance(minutes(5));  // a clock that jumps, or a process that was stopped
  ASSERT_TRUE(plane->SweepLeases());
  EXPECT_EQ(Summary().closed_reason, "");
  Lose();
  EXPECT_EQ(Summary().closed_reason, plane::kClosedLeaseExpired) << "but it does not come back";
}

// Lost, and its token has run out too: what it had made can still come before its late bundle.
TEST_F(LostRuns, WhoseTokenHasRunOutGetOneForTheirBlobsAndNothingElse) {
  Begin();
  plane.clock.Advance(minutes(71));  // the token
  Lose();
  ASSERT_EQ(Summary().closed_reason, plane::kClosedLeaseExpired);
  EXPECT_EQ(plane->Lease(run, {.claim_token = claim.claim_token}).error().code, "unauthorized");
  EXPECT_FALSE(plane->AuthenticateClaim(claim.claim_token));
  auto told = plane->Lease(run, {.claim_token = claim.claim_token, .runner_token = runner.token});
  ASSERT_TRUE(told) << told.error().ToString();
  EXPECT_TRUE(told->closed);
  EXPECT_TRUE(plane->AuthenticateClaim(told->claim_token));
  auto code = [](const auto& answer) { return answer ? std::string() : answer.error().code; };
  EXPECT_EQ(code(plane->Lease(run, {.claim_token = told->claim_token})), "run.ended");
  EXPECT_EQ(code(plane->AppendEvents(run, told->claim_token, finished.events)), "run.ended");
  EXPECT_EQ(code(plane->Complete(run, told->claim_token, finished.receipt, runner.token)),
            "run.ended");
  EXPECT_TRUE(Late(finished.events, finished.receipt));
  EXPECT_TRUE(Summary().has_late_receipt);
}

TEST_F(LostRuns, ThatNoPlaneEverWatchesAreClosedADayAfterTheirToken) {
  Begin();
  plane.clock.Advance(std::chrono::hours(25));
  plane.Reopen();
  EXPECT_EQ(Summary().closed_reason, "");
  plane.clock.Advance(std::chrono::hours(1));
  plane.Reopen();
  EXPECT_EQ(Summary().closed_reason, plane::kClosedLeaseExpired);
}

TEST_F(LostRuns, AreRepeatedWhereTheContractSaysIdempotentUntilTheAttemptsAreUsedUp) {
  Begin(IdempotentJob());
  const std::string first = run;
  std::vector<std::string> seen{first};
  for (int attempt = 2; attempt <= 3; ++attempt) {
    Lose();
    const auto summary = Summary();
    ASSERT_NE(summary.retried_as, "") << attempt;
    const auto types = EventTypes(plane, run);
    EXPECT_EQ(types[types.size() - 2], "run.requeued");
    auto report = Verified(plane, plane->Bundle(run).value(), runner);
    EXPECT_TRUE(report.ok) << protocol::RenderText(report, "lost");
    const auto next = plane->Run(summary.retried_as).value();
    EXPECT_EQ(next.summary.retry_of, run);
    auto contract = protocol::Contract::Parse(json::Parse(next.contract).value()).value();
    ASSERT_TRUE(contract.retry_of);
    EXPECT_EQ(contract.retry_of->text(), run);
    run = summary.retried_as;
    seen.push_back(run);
    claim = Acknowledged(plane, runner);
    ASSERT_EQ(claim.run_id, run);
  }
  Lose();
  EXPECT_EQ(Summary().closed_reason, plane::kClosedLeaseExpired);
  EXPECT_EQ(Summary().retried_as, "") << "three attempts and no more";
  EXPECT_EQ(plane->Runs()->size(), 3u);
}

TEST_F(LostRuns, ThatSomebodyCancelledAreNotRepeated) {
  Begin(IdempotentJob());
  ASSERT_TRUE(plane->Cancel(plane.local, run, std::nullopt)->cancel_requested);
  Lose();
  EXPECT_EQ(Summary().closed_reason, plane::kClosedLeaseExpired);
  EXPECT_EQ(Summary().retried_as, "");
}

TEST_F(LostRuns, AreNotRepeatedAgainstThePolicyInForce) {
  Begin(IdempotentJob());
  plane.SetPolicyText(PolicyWith({{"agents", json::Object{{"allow", json::Array{"codex"}}}}}));
  Lose();
  EXPECT_EQ(Summary().closed_reason, plane::kClosedLeaseExpired);
  EXPECT_EQ(Summary().retried_as, "");
}

TEST_F(LostRuns, OfARevokedRunnerAreRepeatedOnAnother) {
  Begin(IdempotentJob());
  ASSERT_TRUE(plane->RevokeRunner(plane.local, runner.id));
  EXPECT_EQ(Summary().closed_reason, plane::kClosedRunnerRevoked);
  auto report = Verified(plane, plane->Bundle(run).value(), runner);
  EXPECT_TRUE(report.ok) << protocol::RenderText(report, "revoked");
  TestRunner other(*plane, plane.local);
  EXPECT_EQ(Acknowledged(plane, other).run_id, Summary().retried_as);
}

TEST_F(LostRuns, ThatARunnerMadeUnsummableAreClosedAllTheSame) {
  Begin();
  // A host that is no text: no receipt can name it.
  std::vector<protocol::Event> events;
  for (const auto& text : claim.events)
    events.push_back(protocol::Event::Parse(json::Parse(text).value()).value());
  auto hash = protocol::Contract::Parse(json::Parse(claim.contract).value())->Hash();
  auto chain = protocol::EventChain::FromEvents(hash, events).value();
  auto odd = chain.Append(
      plane.clock.Now(),
      json::Object{{"type", "network.connected"}, {"host", 7}, {"decision", "allowed"}});
  ASSERT_TRUE(plane->AppendEvents(run, claim.claim_token, json::Array{odd.ToJson()})->accepted);
  Lose();
  EXPECT_EQ(Summary().closed_reason, plane::kClosedLeaseExpired);
  EXPECT_TRUE(Summary().has_receipt);
  EXPECT_FALSE(Verified(plane, plane->Bundle(run).value(), runner).ok)
      << "and what does not agree is seen";
}

TEST_F(LostRuns, CannotBeClosedByARunnerInThePlanesName) {
  Begin();
  Append(3);
  json::Object forged = finished.receipt.object();
  forged.Set("closedBy", json::Object{{"kind", "plane"},
                                      {"reason", "lease_expired"},
                                      {"lastSeen", FormatRfc3339(plane.clock.Now())}});
  auto signature = protocol::SignDigest(runner.key, protocol::Signer::kRunner,
                                        protocol::HashWithout(json::Value(forged), "signatures"));
  forged.Set("signatures", protocol::SignaturesToJson({signature}));
  auto done = plane->Complete(run, claim.claim_token, forged, "");
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, "receipt.rejected");
}

TEST_F(LostRuns, KeepWhatTheirRunnerFinishedBesideTheReceipt) {
  Begin();
  Append(1);
  EXPECT_EQ(Late(finished.events, finished.receipt).error().code, "run.not_closed");
  Lose();
  const std::string receipt = plane->Run(run)->receipt;
  EXPECT_EQ(plane->LateBundle(run).error().code, "run.no_late_receipt");
  auto kept = Late(finished.events, finished.receipt);
  ASSERT_TRUE(kept) << kept.error().ToString();
  EXPECT_TRUE(Late(finished.events, finished.receipt)) << "the same again after a lost answer";
  EXPECT_TRUE(Summary().has_late_receipt);
  EXPECT_EQ(plane->Run(run)->receipt, receipt) << "never instead of it";
  EXPECT_TRUE(Verified(plane, plane->Bundle(run).value(), runner).ok);
  auto late = Verified(plane, plane->LateBundle(run).value(), runner);
  ASSERT_EQ(late.problems.size(), 1u) << protocol::RenderText(late, "late");
  EXPECT_EQ(late.problems[0].code, "receipt.plane_signature")
      << "one receipt per claim has the plane's signature";
}

TEST_F(LostRuns, TakeTheLateEventsFromAnyPlaceOfTheChainButNoOthers) {
  Begin();
  Append(1);
  Lose();
  const auto& all = finished.events.array();
  EXPECT_EQ(Late(json::Array{all[2]}, finished.receipt).error().code, "late.rejected") << "a gap";
  json::Value other = finished.events;
  other.array()[0].object().Set("event", protocol::events::Finding("other", "story"));
  EXPECT_EQ(Late(other, finished.receipt).error().code, "late.rejected") << "another history";
  EXPECT_EQ(Late(json::Array{all[1]}, finished.receipt).error().code, "late.rejected") << "cut";
  EXPECT_EQ(Late(finished.events, json::Object{}).error().code, "late.rejected");
  json::Object changed = finished.receipt.object();
  changed.Set("costUsd", 1);
  EXPECT_EQ(Late(finished.events, changed).error().code, "late.rejected") << "not signed";
  EXPECT_TRUE(Late(json::Array{all[1], all[2]}, finished.receipt));
  auto signature = protocol::SignDigest(runner.key, protocol::Signer::kRunner,
                                        protocol::HashWithout(json::Value(changed), "signatures"));
  changed.Set("signatures", protocol::SignaturesToJson({signature}));
  EXPECT_EQ(Late(finished.events, changed).error().code, "late.stored") << "another one";
}

TEST_F(LostRuns, TakeALateReceiptFromTheirOwnRunnerOnly) {
  Begin();
  Lose();
  TestRunner other(*plane, plane.local);
  auto late = plane->Late(
      run, {.runner_token = other.token, .events = finished.events, .receipt = finished.receipt});
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(
      plane->Late(run, {.runner_token = "", .events = finished.events, .receipt = finished.receipt})
          .error()
          .code,
      "unauthorized");
  EXPECT_TRUE(plane->Late(
      run, {.runner_token = runner.token, .events = finished.events, .receipt = finished.receipt}))
      << "the claim token may be gone";
}

// L38, L39: whoever comes first, there is one receipt.
TEST_F(LostRuns, CompletedAndClosedAtOnceHaveOneReceipt) {
  for (int round = 0; round < 8; ++round) {
    Begin({.prompt = "round " + std::to_string(round)});
    Append(3);
    PassTime(plane, minutes(10) + seconds(50));
    plane.clock.Advance(seconds(15));  // lost from now on, and nobody has swept
    std::atomic<int> completed{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i) {
      threads.emplace_back([&] {
        auto done = plane->Complete(run, claim.claim_token, finished.receipt, "");
        if (done && !done->replayed) ++completed;
      });
      threads.emplace_back([&] { EXPECT_TRUE(plane->SweepLeases()); });
    }
    threads.emplace_back([&] { (void)plane->Lease(run, {.claim_token = claim.claim_token}); });
    for (auto& thread : threads) thread.join();
    const auto summary = Summary();
    if (!summary.has_receipt) {  // renewed at the last moment
      EXPECT_EQ(completed.load(), 0);
      continue;
    }
    EXPECT_EQ(completed.load(), summary.closed_reason.empty() ? 1 : 0);
    const auto types = EventTypes(plane, run);
    EXPECT_EQ(types.back(), summary.closed_reason.empty() ? "run.completed" : "run.failed");
    EXPECT_TRUE(Verified(plane, plane->Bundle(run).value(), runner).ok);
  }
}

TEST_F(LostRuns, CancelledAndCompletedAtOnceHaveOneReceipt) {
  for (int round = 0; round < 8; ++round) {
    Begin({.prompt = "round " + std::to_string(round)});
    Append(3);
    bool completed = false;
    std::thread completing([&] {
      completed = plane->Complete(run, claim.claim_token, finished.receipt, "").has_value();
    });
    auto cancelled = plane->Cancel(plane.local, run, std::nullopt);
    completing.join();
    EXPECT_TRUE(completed) << "asking for a cancellation takes no receipt away";
    if (!cancelled) {
      EXPECT_EQ(cancelled.error().code, "run.ended");
    }
    EXPECT_EQ(Summary().status, protocol::RunState::kCompleted);
  }
}

TEST_F(LostRuns, SurviveARestartOfThePlaneInTheMiddle) {
  Begin(IdempotentJob());
  PassTime(plane, minutes(5));
  plane.Reopen();
  PassTime(plane, minutes(7));
  const auto summary = Summary();
  EXPECT_EQ(summary.closed_reason, plane::kClosedLeaseExpired);
  plane.Reopen();
  EXPECT_EQ(Summary().retried_as, summary.retried_as);
  EXPECT_EQ(plane->Runs()->size(), 2u);
}

}  // namespace
}  // namespace writ::test
