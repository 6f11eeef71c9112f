// Every failure after a claim ends in one signed receipt with the right failure class and one
// report (L1, L4, L43).
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

#include "e2e/support/runner_world.h"
#include "writ/protocol/bundle.h"
#include "writ/runner/journal.h"

namespace writ {
namespace {

using test::Exited;
using test::FakeBackend;
using test::FakeJobView;
using test::FakePlane;
using test::RunnerWorld;

class SessionFailure : public ::testing::Test {
 protected:
  SessionFailure() : plane_(clock_, FakePlane::Dialect::kExtended), world_(plane_, clock_) {
    FakePlane::LoadRecordedBlobs(plane_);
  }

  protocol::Contract Draft() { return plane_.DraftOfTrue("run_x"); }
  // Finishes the run and expects a failed, signed, delivered receipt; returns (class, message).
  std::pair<std::string, std::string> Failure() {
    Result<std::optional<std::string>> ran = world_.RunOne();
    EXPECT_TRUE(ran) << (ran ? "" : ran.error().ToString());
    FakePlane::Run run = plane_.Get("run_x");
    EXPECT_EQ(run.completions, 1);
    EXPECT_EQ(world_.Sessions(), std::vector<std::string>());
    if (run.completions != 1) return {};
    Result<protocol::Receipt> receipt = protocol::Receipt::Parse(run.receipt);
    EXPECT_TRUE(receipt);
    if (receipt) {
      EXPECT_NE(protocol::FindValidSignature(receipt->signatures, protocol::Signer::kRunner,
                                             plane_.runner_key(), receipt->Hash()),
                nullptr);
    }
    EXPECT_EQ(run.receipt.FindString("status"), "failed");
    const json::Value& last = run.events.back().event;
    std::string message(last.FindString("message").value_or(""));
    EXPECT_EQ(world_.observer.end().message, message);  // L43: the same sentence, once
    return {std::string(last.FindString("failure").value_or("")), message};
  }
  FakeBackend& Agent(FakeBackend::Agent agent = [](FakeJobView&) { return Exited(0); }) {
    return world_.AddFake(std::move(agent));
  }
  SystemClock clock_;
  FakePlane plane_;
  RunnerWorld world_;
};

// L1: nothing is touched for any of these.
TEST_F(SessionFailure, RefusesAContractThatThePinnedKeyDidNotSign) {
  FakeBackend& backend = Agent();
  plane_.AddSealed(Draft(), protocol::PrivateKey::Generate());
  EXPECT_EQ(Failure().first, "attestation_failed");
  EXPECT_EQ(backend.prepared, 0);
  EXPECT_EQ(plane_.Calls(
                "GET /v1/blobs/aac1f1296533be71b2f13d8fbbcd30fe99631a5bf03537911924c21eca74e5f9"),
            0);
}

TEST_F(SessionFailure, RefusesAnExpiredContract) {
  Agent();
  protocol::Contract draft = Draft();
  draft.issued_at = WallTime{clock_.Now().unix_ms - 7'200'000};
  draft.expires_at = WallTime{clock_.Now().unix_ms - 3'600'000};
  plane_.Add(std::move(draft));
  EXPECT_EQ(Failure().first, "policy_denied");
}

TEST_F(SessionFailure, RefusesAContractForAnotherPool) {
  Agent();
  protocol::Contract draft = Draft();
  draft.pool = protocol::PoolName::Parse("other").value();
  plane_.Add(std::move(draft));
  EXPECT_EQ(Failure().first, "policy_denied");
}

TEST_F(SessionFailure, RefusesAContractThatCannotBeReadAndStillSigns) {
  Agent();
  world_.Open();
  json::Value contract =
      json::Object{{"version", "warrant.contract.v9"},
                   {"runId", "run_x"},
                   {"workspace", json::Object{{"baseRef", std::string(40, 'a')}}}};
  protocol::EventChain chain(protocol::HashWithout(contract, "signatures"));
  std::vector<protocol::Event> events = {
      chain.Append(clock_.Now(), json::Object{{"type", "run.created"}})};
  json::Object answer{{"runId", "run_x"},
                      {"contract", contract},
                      {"claimToken", "claim-run_x"},
                      {"events", json::Array{events[0].ToJson()}},
                      {"secrets", json::Array{}}};
  plane_.AddRaw("run_x", json::Write(std::move(answer)), events);
  ASSERT_TRUE(world_.RunOne());
  FakePlane::Run run = plane_.Get("run_x");
  EXPECT_EQ(run.completions, 1);
  EXPECT_EQ(run.events.back().event.FindString("failure"), "capability_mismatch");
}

// L15
TEST_F(SessionFailure, RefusesABlobWithOtherBytesThanItsHash) {
  Agent();
  plane_.SetFault(
      [](const std::string& method, const std::string& path) -> std::optional<FakePlane::Answer> {
        if (method == "GET" && path.starts_with("/v1/blobs/"))
          return FakePlane::Answer{200, "something else", "application/octet-stream"};
        return std::nullopt;
      });
  plane_.Add(Draft());
  EXPECT_EQ(Failure().first, "transfer_failed");
}

TEST_F(SessionFailure, SaysThatABlobIsMissing) {
  Agent();
  protocol::Contract draft = Draft();
  draft.workspace.dirty_diff_hash = protocol::Sha256("nobody has this");
  plane_.Add(std::move(draft));
  EXPECT_EQ(Failure().first, "transfer_failed");
}

// L4: what cannot be met is refused, each with a sentence.
TEST_F(SessionFailure, RefusesWhatItCannotMeet) {
  using Change = std::function<void(protocol::Contract&)>;
  const std::pair<const char*, Change> cases[] = {
      {"isolation", [](protocol::Contract& c) { c.isolation = "vercel-sandbox"; }},
      {"microvm", [](protocol::Contract& c) { c.isolation = "microvm"; }},
      {"checkpoint",
       [](protocol::Contract& c) {
         c.continuation = protocol::Continuation{protocol::Sha256("e"), "cp", "process"};
       }},
      {"open network", [](protocol::Contract& c) { c.network.default_deny = false; }},
      {"HTTP_PROXY",
       [](protocol::Contract& c) { c.execution->env.vars["HTTP_PROXY"] = "http://elsewhere"; }},
      {"LD_PRELOAD",
       [](protocol::Contract& c) { c.execution->env.vars["LD_PRELOAD"] = "/tmp/x.so"; }},
      {"spend",
       [](protocol::Contract& c) {
         c.budget.max_spend_usd = 1;
         c.network.allow_hosts = {protocol::AllowedHost::Parse("api.example.com").value()};
       }},
      {"spends",
       [](protocol::Contract& c) {
         c.budget.max_spend_usd = 1;
         c.network.default_deny = false;
       }},
      {"never started",
       [](protocol::Contract& c) {
         c.agent.kind = protocol::AgentKind::Parse("pi").value();
         c.execution.reset();
       }},
      {"tells none", [](protocol::Contract& c) { c.agent.version = ">=2.1"; }},
      {"more time", [](protocol::Contract& c) { c.execution->timeout_ms = 400'000'000; }},
  };
  for (const auto& [word, change] : cases) {
    FakePlane plane(clock_, FakePlane::Dialect::kBase);
    RunnerWorld world(plane, clock_);
    FakeBackend& backend = world.AddFake([](FakeJobView&) { return Exited(0); });
    protocol::Contract draft = Draft();
    change(draft);
    plane.Add(std::move(draft));
    ASSERT_TRUE(world.RunOne()) << word;
    FakePlane::Run run = plane.Get("run_x");
    ASSERT_EQ(run.completions, 1) << word;
    const json::Value& last = run.events.back().event;
    EXPECT_EQ(last.FindString("failure"), "capability_mismatch") << word;
    EXPECT_NE(last.FindString("message").value_or("").find(word), std::string_view::npos)
        << word << ": " << last.FindString("message").value_or("");
    EXPECT_EQ(backend.prepared, 0) << word;
    EXPECT_EQ(plane.violations(), std::vector<std::string>()) << word;
  }
}

TEST_F(SessionFailure, NamesTheReservedVariableAndTheMendInTheReceipt) {
  FakePlane plane(clock_, FakePlane::Dialect::kExtended);
  RunnerWorld world(plane, clock_);
  world.AddFake([](FakeJobView&) { return Exited(0); });
  protocol::Contract draft = Draft();
  draft.execution->env.vars["HOME"] = "/tmp/elsewhere";
  plane.Add(std::move(draft));
  ASSERT_TRUE(world.RunOne());
  const json::Value receipt = plane.Get("run_x").receipt;
  const json::Value* environment = receipt.Find("runner")->Find("environment");
  ASSERT_NE(environment, nullptr);
  EXPECT_EQ(environment->FindString("failureCode"), "env.reserved");
  EXPECT_EQ(environment->Find("enforcement"), nullptr);  // L47: no job, nothing held
  EXPECT_NE(environment->FindString("failureMend").value_or("").find("take HOME out"),
            std::string_view::npos);
}

TEST_F(SessionFailure, LeavesOutAnInheritThatTheOperatorDoesNotAllowAndSaysSo) {
  Agent([](FakeJobView& job) {
    EXPECT_FALSE(job.env.contains("USER_CHOICE"));
    return Exited(0);
  });
  protocol::Contract draft = Draft();
  draft.execution->env.inherit.push_back(protocol::EnvName::Parse("USER_CHOICE").value());
  plane_.Add(std::move(draft));
  setenv("USER_CHOICE", "value", 1);
  ASSERT_TRUE(world_.RunOne());
  unsetenv("USER_CHOICE");
  bool said = false;
  for (const protocol::Event& event : plane_.Get("run_x").events)
    if (event.event.FindString("code") == "env.inherit_not_allowed")
      said = event.event.FindString("message").value_or("").find("envAllow") != std::string::npos;
  EXPECT_TRUE(said) << "with what to do about it";
}

TEST_F(SessionFailure, RefusesASecretThatNoJobCanBeGivenBeforeAnythingIsPrepared) {
  for (const std::string& value : {std::string("42"), std::string("1234\0"
                                                                  "5678",
                                                                  9)}) {
    FakePlane plane(clock_, FakePlane::Dialect::kExtended);
    FakePlane::LoadRecordedBlobs(plane);
    RunnerWorld world(plane, clock_);
    FakeBackend& backend = world.AddFake([](FakeJobView&) { return Exited(0); });
    protocol::Contract draft = plane.DraftOfTrue("run_x");
    draft.secrets.push_back({protocol::SecretName::Parse("PIN").value(), "pool:default"});
    plane.Add(std::move(draft), {{"PIN", value}});
    ASSERT_TRUE(world.RunOne());
    EXPECT_EQ(plane.Get("run_x").events.back().event.FindString("failure"),
              "secret_release_denied");
    EXPECT_EQ(backend.prepared, 0);
  }
}

TEST_F(SessionFailure, GivesBackWhatWasPreparedForASecretWhoseValueDoesNotCome) {
  FakeBackend& backend = Agent();
  protocol::Contract draft = Draft();
  draft.secrets.push_back({protocol::SecretName::Parse("PIN").value(), "pool:default"});
  plane_.Add(std::move(draft), {{"PIN", "12345678"}});
  plane_.WithholdSecrets();
  EXPECT_EQ(Failure().first, "secret_release_denied");
  EXPECT_EQ(backend.prepared, 1);
  EXPECT_EQ(backend.dismantled, 1);  // L37
}

TEST_F(SessionFailure, ReportsAJobThatFailsInTheRecordedWords) {
  Agent([](FakeJobView&) { return Exited(1); });
  plane_.Add(Draft());
  EXPECT_EQ(Failure(),
            (std::pair<std::string, std::string>("session_failed", "agent exited with code 1")));
}

// L17
TEST_F(SessionFailure, AnUnobservedExitStatusIsNoSuccessAndNoEvent) {
  Agent([](FakeJobView&) { return backends::Outcome{}; });
  plane_.Add(Draft());
  EXPECT_EQ(Failure().first, "session_failed");
  for (const protocol::Event& event : plane_.Get("run_x").events)
    EXPECT_NE(event.type(), "command.executed");
}

TEST_F(SessionFailure, ATimeOutIsTheBudgetsWhereTheBudgetSetIt) {
  Agent([](FakeJobView&) {
    backends::Outcome outcome;
    outcome.kind = backends::Outcome::Kind::kTimedOut;
    outcome.status = ExitStatus{true, 0, 9};
    return outcome;
  });
  protocol::Contract draft = Draft();
  draft.budget.max_duration_min = 0.01;
  plane_.Add(std::move(draft));
  EXPECT_EQ(Failure().first, "budget_exceeded");
}

// Each limit has a code of its own in the receipt, and what held it is told; what nobody counted is
// absent, never 0.
TEST_F(SessionFailure, EachLimitEndsARunWithItsOwnCodeInTheReceipt) {
  using backends::LimitKind;
  int n = 0;
  for (auto [kind, code] : std::initializer_list<std::pair<LimitKind, std::string>>{
           {LimitKind::kWall, "limit.wall"},
           {LimitKind::kCpu, "limit.cpu"},
           {LimitKind::kMemory, "limit.memory"},
           {LimitKind::kProcesses, "limit.processes"},
           {LimitKind::kDisk, "limit.disk"},
           {LimitKind::kDiskFiles, "limit.disk"},
           {LimitKind::kOutput, "limit.output"}}) {
    SCOPED_TRACE(code);
    RunnerWorld world(plane_, clock_);
    world.AddFake([kind = kind](FakeJobView&) {
      backends::Outcome outcome;
      outcome.kind = backends::Outcome::Kind::kViolated;
      outcome.duration = std::chrono::milliseconds(12);
      outcome.limit = backends::PlannedLimit{kind, 7, backends::LimitSource::kOperator};
      outcome.limits.push_back({*outcome.limit, backends::LimitHolder::kCgroupV1, ""});
      outcome.usage.disk_bytes = 4096;
      return outcome;
    });
    const std::string id = "run_limit_" + std::to_string(n++);
    protocol::Contract draft = plane_.Draft(id);
    draft.budget.max_duration_min = 1;
    plane_.Add(std::move(draft));
    ASSERT_TRUE(world.RunOne());
    FakePlane::Run run = plane_.Get(id);
    const json::Value* environment = run.receipt.Find("runner")->Find("environment");
    ASSERT_NE(environment, nullptr);
    EXPECT_EQ(environment->FindString("failureCode"), code);
    EXPECT_EQ(run.events.back().event.FindString("failure"),
              kind == LimitKind::kWall ? "budget_exceeded" : "session_failed");
    const json::Value* held = environment->Find("enforcement")->Find("resources")->Find("limits");
    ASSERT_NE(held, nullptr);
    EXPECT_EQ((*held->if_array())[0].FindString("heldBy"), "cgroup-v1");
    const json::Value* used = environment->Find("used");
    ASSERT_NE(used, nullptr);
    EXPECT_NE(used->Find("diskBytes"), nullptr);
    EXPECT_EQ(used->Find("cpuMs"), nullptr);
    EXPECT_EQ(used->Find("maxRssBytes"), nullptr);
    EXPECT_TRUE(std::any_of(run.events.begin(), run.events.end(), [](const protocol::Event& e) {
      return e.type() == "resource.used" && e.event.Find("wallMs") != nullptr &&
             e.event.Find("readBytes") == nullptr;
    }));
  }
}

TEST_F(SessionFailure, AJobThatCannotBeSpawnedIsDismantledAndReceipted) {
  FakeBackend& backend = Agent();
  backend.start_answer = Error{.kind = ErrorKind::kUnavailable,
                               .code = "process.spawn",
                               .message = "the launcher could not be started"};
  plane_.Add(Draft());
  EXPECT_EQ(Failure().first, "session_failed");
  EXPECT_EQ(backend.dismantled, 1);
  FakePlane::Run run = plane_.Get("run_x");
  EXPECT_TRUE(std::none_of(run.events.begin(), run.events.end(), [](const protocol::Event& e) {
    return e.type() == "command.executed";
  }));
}

TEST_F(SessionFailure, AnOutputLimitIsASessionFailure) {
  Agent([](FakeJobView&) {
    backends::Outcome outcome;
    outcome.kind = backends::Outcome::Kind::kOutputLimit;
    return outcome;
  });
  plane_.Add(Draft());
  EXPECT_EQ(Failure().first, "session_failed");
}

// L37: a leak is in the receipt, and the run is not called completed.
TEST_F(SessionFailure, WhatIsLeftAfterDismantlingIsInTheReceipt) {
  FakeBackend& backend = Agent();
  backend.leaks = {{"cgroup", "writ-run_x"}};
  plane_.Add(Draft());
  EXPECT_EQ(Failure().first, "session_failed");
  bool said = false;
  for (const protocol::Event& event : plane_.Get("run_x").events)
    if (event.type() == "session.closed") said = event.event.Find("leaks")->array().size() == 1;
  EXPECT_TRUE(said);
  // The slot and its uid are not used again.
  Result<std::optional<std::string>> next = world_.RunOne();
  ASSERT_FALSE(next);
  EXPECT_EQ(next.error().code, "runner.no_slot");
}

TEST_F(SessionFailure, AnUploadThatFailsIsATransferFailure) {
  Agent([](FakeJobView& job) {
    job.Print("output\n");
    return Exited(0);
  });
  plane_.SetFault(
      [](const std::string& method, const std::string& path) -> std::optional<FakePlane::Answer> {
        if (method == "POST" && path == "/v1/blobs")
          return FakePlane::Answer{413, "{\"error\":\"too large\",\"code\":\"too_large\"}"};
        return std::nullopt;
      });
  plane_.Add(Draft());
  EXPECT_EQ(Failure().first, "transfer_failed");
}

TEST_F(SessionFailure, ACancellationByThePlaneReachesTheJobAndNamesTheActor) {
  Agent([this](FakeJobView& job) {
    plane_.RequestCancel("run_x");
    std::mutex mutex;
    std::condition_variable_any wake;
    std::unique_lock lock(mutex);
    wake.wait(lock, job.stop, [] { return false; });
    backends::Outcome outcome;
    outcome.kind = backends::Outcome::Kind::kCancelled;
    outcome.status = ExitStatus{true, 0, 15};
    return outcome;
  });
  plane_.Add(Draft());
  ASSERT_TRUE(world_.RunOne());
  FakePlane::Run run = plane_.Get("run_x");
  EXPECT_EQ(run.receipt.FindString("status"), "cancelled");
  EXPECT_EQ(run.events.back().type(), "run.cancelled");
}

TEST_F(SessionFailure, AReceiptThatThePlaneRefusesIsParkedWhole) {
  Agent();
  plane_.SetFault(
      [](const std::string&, const std::string& path) -> std::optional<FakePlane::Answer> {
        if (path.ends_with("/complete"))
          return FakePlane::Answer{401,
                                   "{\"error\":\"claim token expired\",\"code\":\"unauthorized\"}"};
        return std::nullopt;
      });
  plane_.Add(Draft());
  ASSERT_TRUE(world_.RunOne());
  const auto kept = runner::ListKeptReceipts(world_.config.state_dir).value();
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_TRUE(kept[0].parked);
  const json::Value bundle =
      runner::ReadKeptBundle(world_.config.state_dir, kept[0].run_id).value();
  EXPECT_EQ(bundle.Find("receipt")->FindString("runId"), "run_x");
  EXPECT_NE(world_.observer.steps().find("parked"), std::string::npos);
}

}  // namespace
}  // namespace writ
