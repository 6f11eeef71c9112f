// Runs are offered to runners that say they can do them, and a run that waits says why.
#include <gtest/gtest.h>

#include "http_api.h"
#include "matching.h"
#include "test_plane.h"

namespace writ::test {
namespace {

using protocol::RunnerCapabilities;
using protocol::Tier;
using std::chrono::milliseconds;
using std::chrono::minutes;

constexpr milliseconds kNoWait{0};

// Offers process and sandbox, has the mock agent, gives a run 1 GiB and has no hold on CPU.
RunnerCapabilities Ordinary() {
  RunnerCapabilities can;
  protocol::TierReport process;
  process.offered = true;
  process.limits = {{"memory", "cgroup-v1", true}, {"cpuShare", "none", false}};
  protocol::TierReport sandbox = process;
  sandbox.tier = Tier::kSandbox;
  protocol::TierReport container;
  container.tier = Tier::kContainer;
  container.reason = "there is no OCI runtime";
  container.mend = "install crun or runc";
  can.tiers = {process, sandbox, container};
  can.agents = {{protocol::AgentKind::Parse("mock").value(), std::nullopt}};
  can.most.memory_bytes = 1ull << 30;
  can.most.timeout_ms = 3'600'000;
  can.most.log_bytes = 1u << 20;
  return can;
}

RunnerCapabilities WithContainers() {
  RunnerCapabilities can = Ordinary();
  can.tiers[2].offered = true;
  return can;
}

plane::RunWants Wants(json::Object execution, std::optional<std::string> isolation = {}) {
  protocol::Contract contract;
  contract.run_id = protocol::RunId::Parse("run_1").value();
  contract.agent.kind = protocol::AgentKind::Parse("command").value();
  contract.isolation = std::move(isolation);
  contract.execution = protocol::Execution::Parse(json::Value(std::move(execution))).value();
  return plane::RunWants::Of(contract);
}
json::Object Shell(json::Object more = {}) {
  json::Object out{{"kind", "shell"}, {"script", "true"}};
  for (const auto& member : more) out.Set(member.name, member.value);
  return out;
}
json::Object Agent(const char* kind) {
  return {{"kind", "agent"}, {"agent", json::Object{{"kind", kind}}}, {"prompt", "p"}};
}
json::Object Limited(const char* member, std::int64_t value) {
  return Shell({{"limits", json::Object{{member, value}}}});
}
std::string Lacks(const plane::RunWants& wants, const RunnerCapabilities& can = Ordinary()) {
  auto again = plane::RunWants::FromText(wants.ToText());
  EXPECT_TRUE(again) << again.error().ToString();
  EXPECT_EQ(again->ToText(), wants.ToText());
  auto unmet = plane::WhyNot(*again, can);
  return unmet ? unmet->want : "";
}

TEST(Matching, HoldsBackWhatTheRunnerSaysItCannotDo) {  // L4
  EXPECT_EQ(Lacks(Wants(Shell())), "");
  EXPECT_EQ(Lacks(Wants(Shell(), "sandbox")), "");
  EXPECT_EQ(Lacks(Wants(Shell(), "container")), "container");
  EXPECT_EQ(Lacks(Wants(Shell(), "container"), WithContainers()), "");
  EXPECT_EQ(Lacks(Wants(Shell(), "microvm"), WithContainers()), "microvm");
  EXPECT_EQ(Lacks(Wants(Shell(), "hermetic")), "the isolation \"hermetic\"");
  EXPECT_EQ(Lacks(Wants(Agent("mock"))), "");
  EXPECT_EQ(Lacks(Wants(Agent("codex"))), "agent codex");
  EXPECT_EQ(Lacks(Wants(Limited("memoryBytes", 1 << 30))), "");
  EXPECT_EQ(Lacks(Wants(Limited("memoryBytes", (1 << 30) + 1))),
            "1024 MiB as memoryBytes of one run");
  EXPECT_EQ(Lacks(Wants(Limited("cpuMillis", 500))), "a limit of cpuMillis that holds");
  EXPECT_EQ(Lacks(Wants(Limited("diskBytes", 1ll << 50))), "") << "it says no bound";
  EXPECT_EQ(Lacks(Wants(Shell({{"timeoutMs", 7'200'000}}))), "7200 s for one run");
  EXPECT_EQ(
      Lacks(Wants(Shell({{"log", json::Object{{"stdout", "capture"}, {"maxBytes", 2 << 20}}}}))),
      "a log of 2 MiB");
}

TEST(Matching, JudgesAContractByTheTierInWhichItWouldRun) {
  RunnerCapabilities can = Ordinary();
  can.minimum_isolation = Tier::kContainer;
  EXPECT_EQ(Lacks(Wants(Shell(), "process"), can), "container") << "raised, and not there";
  can.words.emplace("hermetic", Tier::kSandbox);
  can.minimum_isolation = Tier::kProcess;
  EXPECT_EQ(Lacks(Wants(Shell(), "hermetic"), can), "");
  can.default_isolation = Tier::kMicroVm;
  EXPECT_EQ(Lacks(Wants(Shell()), can), "microvm");
}

class WaitingRuns : public ::testing::Test {
 protected:
  std::string Offered(const TestRunner& who, const RunnerCapabilities* can) {
    auto answer = plane->TakeOffer(who.token, who.pool, kNoWait, {}, {}, can);
    EXPECT_TRUE(answer) << (answer ? "" : answer.error().ToString());
    return answer && answer->offer ? answer->offer->run_id : "";
  }
  std::string SubmitFor(const char* isolation) {
    return Submit(plane, {.extra = {{"isolation", isolation}}});
  }
  plane::Waiting Why(const std::string& run) {
    auto detail = plane->Run(run);
    EXPECT_TRUE(detail && detail->summary.waiting);
    auto listed = plane->Runs(std::nullopt);
    EXPECT_TRUE(listed);
    for (const plane::RunSummary& each : *listed)
      if (each.run_id == run) {
        EXPECT_TRUE(each.waiting);
        EXPECT_EQ(each.waiting->message, detail->summary.waiting->message);
      }
    return detail && detail->summary.waiting ? *detail->summary.waiting : plane::Waiting{};
  }
  TestPlane plane;
  TestRunner runner{*plane, plane.local};
  TestRunner other{*plane, plane.local};
};

TEST_F(WaitingRuns, AreOfferedToWhoeverCanDoThemAndPassedOverByTheOthers) {
  const std::string hard = SubmitFor("container");
  const std::string easy = SubmitFor("process");
  const RunnerCapabilities ordinary = Ordinary(), able = WithContainers();
  EXPECT_EQ(Offered(runner, &ordinary), easy) << "the first of the queue is passed over";
  EXPECT_EQ(Offered(runner, &ordinary), "");
  EXPECT_EQ(Offered(other, &able), hard);
}

TEST_F(WaitingRuns, AreClaimedByTheSameRuleAndByOldRunnersWithoutAny) {
  const std::string hard = SubmitFor("container");
  const RunnerCapabilities ordinary = Ordinary();
  auto claim = plane->Claim(runner.token, "default", kNoWait, {}, {}, &ordinary);
  ASSERT_TRUE(claim);
  EXPECT_FALSE(*claim);
  EXPECT_EQ(Claimed(plane, other).run_id, hard) << "a runner that says nothing gets what comes";
}

TEST_F(WaitingRuns, GoToTheRunnerThatAsksForThemByName) {
  const std::string hard = SubmitFor("container");
  const RunnerCapabilities ordinary = Ordinary();
  auto answer = plane->TakeOffer(runner.token, "default", kNoWait, {}, hard, &ordinary);
  ASSERT_TRUE(answer && answer->offer) << "it refuses it itself, with a receipt";
}

TEST_F(WaitingRuns, SayThatNobodyServesTheirPool) {
  const std::string run = SubmitFor("process");
  EXPECT_EQ(Why(run).code, "wait.no_runner");
  EXPECT_EQ(Why(run).message,
            "no runner serves pool default: 2 enrolled, none of which waits for runs");
  EXPECT_NE(Why(run).mend.find("writ runner start"), std::string::npos);
  const RunnerCapabilities ordinary = Ordinary();
  EXPECT_EQ(Offered(runner, &ordinary), run);
  EXPECT_EQ(Why(run).code, "wait.offered");
  plane.clock.Advance(minutes(4));
  EXPECT_EQ(Why(run).code, "wait.no_runner") << "it has not been heard of for long";
  EXPECT_NE(Why(run).message.find("2 enrolled, last heard of at "), std::string::npos);
}

TEST_F(WaitingRuns, SayWhatNoRunnerOfTheirPoolOffers) {
  const std::string run = SubmitFor("container");
  const RunnerCapabilities ordinary = Ordinary();
  EXPECT_EQ(Offered(runner, &ordinary), "");
  EXPECT_EQ(Why(run).message,
            "no runner of pool default offers container: 1 runner serves it: there is no OCI "
            "runtime");
  EXPECT_EQ(Offered(other, &ordinary), "");
  EXPECT_EQ(Why(run).code, "wait.no_fit");
  EXPECT_EQ(Why(run).message,
            "no runner of pool default offers container: 2 runners serve it, both say: there is no "
            "OCI runtime");
  EXPECT_EQ(Why(run).mend, "install crun or runc");
  RunnerCapabilities another = Ordinary();
  another.tiers[2].reason = "the runtime is too old";
  EXPECT_EQ(Offered(other, &another), "");
  EXPECT_EQ(Why(run).message,
            "no runner of pool default offers container: 2 runners serve it: 1 without container "
            "(there is no OCI runtime); 1 without container (the runtime is too old)");
}

TEST_F(WaitingRuns, SayThatThoseWhoCouldAreAtWorkOrGaveThemBack) {
  const RunnerCapabilities ordinary = Ordinary(), able = WithContainers();
  const std::string first = SubmitFor("container");
  ASSERT_EQ(Offered(other, &able), first);
  auto offer = plane->TakeOffer(runner.token, "default", kNoWait, {}, {}, &ordinary);
  ASSERT_TRUE(offer && !offer->offer);
  plane.clock.Advance(std::chrono::seconds(11));
  auto again = plane->TakeOffer(other.token, "default", kNoWait, {}, {}, &able);
  ASSERT_TRUE(again && again->offer);
  ASSERT_TRUE(plane->Acknowledge(first, again->offer->claim_token));
  const std::string second = SubmitFor("container");
  EXPECT_EQ(Why(second).code, "wait.busy");
  EXPECT_EQ(Why(second).message, "1 of 2 runners of pool default can take it, and it is at work");
  auto next = plane->TakeOffer(other.token, "default", kNoWait, {}, {}, &able);
  ASSERT_TRUE(next && next->offer);
  ASSERT_TRUE(plane->Decline(second, next->offer->claim_token, "no room for 9 GiB"));
  EXPECT_EQ(Why(second).code, "wait.declined");
  EXPECT_NE(Why(second).message.find("no room for 9 GiB"), std::string::npos);
}

TEST_F(WaitingRuns, EndWithTheReasonWhenTheirContractExpires) {
  const std::string run = SubmitFor("container");
  const RunnerCapabilities ordinary = Ordinary();
  const WallTime begun = plane.clock.Now();
  while (plane.clock.Now() < begun + plane->config().contract_lifetime) {
    EXPECT_EQ(Offered(runner, &ordinary), "");
    plane.clock.Advance(minutes(2));
  }
  ASSERT_TRUE(plane->Sweep());
  auto detail = plane->Run(run);
  ASSERT_TRUE(detail);
  EXPECT_EQ(detail->summary.status, protocol::RunState::kFailed);
  EXPECT_NE(detail->summary.failure.find("offers container"), std::string::npos)
      << detail->summary.failure;
  EXPECT_NE(detail->events.back().find("capability_mismatch"), std::string::npos);
}

TEST_F(WaitingRuns, AreNeverWidenedByWhatARunnerClaims) {
  // A runner that says it can do everything gets runs of its own pool, as it did before.
  TestPlane two(SecretPolicy());
  TestRunner liar{*two, two.local, "other"};
  Submit(two, {.extra = {{"isolation", "container"}}});
  RunnerCapabilities all = WithContainers();
  auto answer = two->TakeOffer(liar.token, "other", kNoWait, {}, {}, &all);
  ASSERT_TRUE(answer);
  EXPECT_FALSE(answer->offer);
  EXPECT_FALSE(two->TakeOffer(liar.token, "default", kNoWait, {}, {}, &all));
}

class CapabilitiesApi : public Api {};

TEST_F(CapabilitiesApi, AreTakenWithTheClaimAndListedAndRefusedWithTheirPlace) {  // L3
  Start({});
  TestRunner runner(**plane, plane->local);
  const std::string admin = Token("root", {plane::Role::kAdmin});
  auto claim = [&](json::Value can) {
    return client->Post("/v1/claims", json::Object{{"runnerToken", runner.token},
                                                   {"pool", "default"},
                                                   {"acknowledge", true},
                                                   {"capabilities", std::move(can)}});
  };
  const std::string run = Submit(*plane, {.extra = {{"isolation", "container"}}});
  EXPECT_EQ(*claim(Ordinary().ToJson()).Json().Find("empty"), json::Value(true));
  auto listed = client->Get("/v1/runners", admin).Json();
  const json::Value& shown = listed.Find("runners")->array()[0];
  EXPECT_EQ(json::Write(*shown.Find("capabilities")), json::Write(Ordinary().ToJson()));
  EXPECT_TRUE(shown.FindString("heardAt"));
  auto seen = client->Get("/v1/runs/" + run, admin).Json();
  ASSERT_NE(seen.Find("waiting"), nullptr);
  EXPECT_EQ(seen.Find("waiting")->FindString("code"), "wait.no_fit");

  json::Value hostile = Ordinary().ToJson();
  hostile.object().Find("tiers")->array()[0].object().Set("tier", "everything");
  auto refused = claim(hostile);
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(refused.Json().FindString("pointer"), "/capabilities/tiers/0/tier") << refused.body;
  EXPECT_EQ(claim("all").status, 400);
  auto after = client->Get("/v1/runners", admin).Json();
  EXPECT_EQ(json::Write(*after.Find("runners")->array()[0].Find("capabilities")),
            json::Write(Ordinary().ToJson()))
      << "what was refused changed nothing";
}

}  // namespace
}  // namespace writ::test
