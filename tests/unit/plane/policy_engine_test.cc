// Pure decisions: what a policy says about a request, and which policies are refused (L4, L5).
#include "policy_engine.h"

#include <gtest/gtest.h>

#include "writ/plane/init.h"

namespace writ::plane {
namespace {

using json::Array;
using json::Object;
using json::Value;

Object BasePolicy() {
  return json::Parse(DefaultPolicy()).value().object();
}

protocol::Policy PolicyWith(const Object& changes) {
  Object policy = BasePolicy();
  for (const auto& member : changes) policy.Set(member.name, member.value);
  auto parsed = protocol::Policy::Parse(policy);
  EXPECT_TRUE(parsed) << (parsed ? "" : parsed.error().ToString());
  return parsed.value();
}

Value Request(const Object& changes = {}) {
  Object request = json::Parse(R"({"requestedBy":{"kind":"human","id":"a"},"agentKind":"mock",
    "secretNames":[],"network":{"defaultDeny":true,"allowHosts":[]},"budget":{},
    "disclosure":"minimal-context","workspace":{"version":"warrant.manifest.v1",
    "baseRef":"4d860767f99770656bf69a0bcfd96250ed47c328",
    "bundleHash":"aac1f1296533be71b2f13d8fbbcd30fe99631a5bf03537911924c21eca74e5f9",
    "untrackedFiles":[],"deniedPatterns":[],"deniedPaths":[]},"pool":"default","prompt":"x"})")
                       .value()
                       .object();
  for (const auto& member : changes) request.Set(member.name, member.value);
  return Object{{"request", request}};
}

RunRequest Parsed(const Object& changes = {}) {
  auto parsed = ParseRunRequest(json::Write(Request(changes)), 1 << 20);
  EXPECT_TRUE(parsed && parsed->issues.empty())
      << (parsed && !parsed->issues.empty() ? parsed->issues.front().text : "");
  return parsed->request;
}

PolicyDecision Decide(const Object& policy, const Object& request,
                      OpenNetwork grant = OpenNetwork::kRefused) {
  return Evaluate(PolicyWith(policy), Parsed(request), grant);
}

using Verdict = PolicyDecision::Verdict;
using Reasons = std::vector<std::string>;

TEST(PolicyEngine, AllowsWhatEveryMemberAllows) {
  auto decision = Decide({}, {});
  EXPECT_EQ(decision.verdict, Verdict::kAllow);
  EXPECT_EQ(decision.reason, "policy allows this run");
}

TEST(PolicyEngine, DeniesAPoolThatIsNotListedInTheRecordedWords) {
  EXPECT_EQ(Decide({}, {{"pool", "nope"}}).reasons, Reasons{"runner pool \"nope\" is not allowed"});
}

TEST(PolicyEngine, AnEmptyAllowListAllowsNothing) {  // L5
  auto decision = Decide(
      {{"runners", Object{{"allowPools", Array{}}}}, {"agents", Object{{"allow", Array{}}}}}, {});
  EXPECT_EQ(decision.reasons, (Reasons{"runner pool \"default\" is not allowed",
                                       "agent kind \"mock\" is not allowed"}));
}

TEST(PolicyEngine, GivesEveryReasonAndNotJustTheFirst) {
  auto decision = Decide(
      {}, {{"pool", "nope"},
           {"agentKind", "other"},
           {"network", Object{{"defaultDeny", true}, {"allowHosts", Array{"evil.example.com"}}}},
           {"secretNames", Array{"S"}}});
  EXPECT_EQ(decision.reasons.size(), 4u);
  EXPECT_EQ(decision.verdict, Verdict::kDeny);
}

TEST(PolicyEngine, AProgramNeedsTheCommandKindWhateverTheAgentKindSays) {
  Object only_mock{{"agents", Object{{"allow", Array{"mock"}}}}};
  auto decision = Decide(only_mock, {{"execution", Object{{"kind", "shell"}, {"script", "id"}}}});
  EXPECT_EQ(decision.reasons, Reasons{"agent kind \"command\" is not allowed"});
}

TEST(PolicyEngine, HostsAreCoveredExactlyOrBeneathAWildcard) {
  Object policy{{"network", Object{{"defaultDeny", true},
                                   {"allowHosts", Array{"api.example.com", "*.corp.example"}}}}};
  auto with = [&](const char* host) {
    return Decide(policy, {{"network", Object{{"defaultDeny", true}, {"allowHosts", Array{host}}}}})
        .verdict;
  };
  EXPECT_EQ(with("api.example.com"), Verdict::kAllow);
  EXPECT_EQ(with("a.corp.example"), Verdict::kAllow);
  EXPECT_EQ(with("*.a.corp.example"), Verdict::kAllow);
  EXPECT_EQ(with("corp.example"), Verdict::kDeny);
  EXPECT_EQ(with("*.example.com"), Verdict::kDeny);
  EXPECT_EQ(with("xapi.example.com"), Verdict::kDeny);
  EXPECT_EQ(with("evilcorp.example"), Verdict::kDeny);
}

TEST(PolicyEngine, AnOpenNetworkNeedsThePolicyAndTheOperator) {
  Object ask{{"network", Object{{"defaultDeny", false}, {"allowHosts", Array{}}}}};
  Object open{{"network", Object{{"defaultDeny", false}, {"allowHosts", Array{}}}}};
  EXPECT_EQ(Decide({}, ask, OpenNetwork::kGranted).reasons,
            Reasons{"network defaultDeny:false is not allowed by the policy"});
  EXPECT_EQ(Decide(open, ask).reasons,
            Reasons{"network defaultDeny:false is not granted by the operator"});
  EXPECT_EQ(Decide(open, ask, OpenNetwork::kGranted).verdict, Verdict::kAllow);
}

TEST(PolicyEngine, ADataClassRuleBindsTheRunsThatMoveThatClass) {
  Object rule{
      {"dataClasses", Array{Object{{"dataClass", "code-diff"}, {"allowPools", Array{"vault"}}}}}};
  EXPECT_EQ(Decide(rule, {}).reasons,
            Reasons{"data class \"code-diff\" is not allowed in runner pool \"default\""});
  EXPECT_EQ(Decide(rule, {{"disclosure", "none"}}).verdict, Verdict::kAllow);
}

TEST(PolicyEngine, ASecretIsReleasedUnderItsRuleToItsPoolsOnly) {
  Object rule{{"runners", Object{{"allowPools", Array{"default", "other"}}}},
              {"secrets", Object{{"releasable", Array{Object{{"name", "TOKEN"},
                                                             {"scope", "pool:default"},
                                                             {"pools", Array{"default"}}}}}}}};
  auto allowed = Decide(rule, {{"secretNames", Array{"TOKEN"}}});
  ASSERT_EQ(allowed.secrets.size(), 1u);
  EXPECT_EQ(allowed.secrets[0].scope, "pool:default");
  EXPECT_EQ(Decide(rule, {{"secretNames", Array{"TOKEN"}}, {"pool", "other"}}).reasons,
            Reasons{"secret \"TOKEN\" is not releasable to runner pool \"other\""});
  EXPECT_EQ(Decide(rule, {{"secretNames", Array{"ELSE"}}}).reasons,
            Reasons{"secret \"ELSE\" is not releasable"});
}

TEST(PolicyEngine, BudgetMaximaRefuseMoreAndFillInWhatCouldBeSpent) {
  const Object max{{"budget", Object{{"maxSpendUsd", 25}, {"maxDurationMin", 60}}}};
  EXPECT_EQ(Decide(max, {{"budget", Object{{"maxSpendUsd", 26}}}}).reasons,
            Reasons{"budget maxSpendUsd 26 is over the policy maximum 25"});
  EXPECT_EQ(Decide(max, {{"budget", Object{{"maxDurationMin", 61}}}}).reasons,
            Reasons{"budget maxDurationMin 61 is over the policy maximum 60"});
  EXPECT_EQ(Decide(max, {{"execution", Object{{"kind", "agent"},
                                              {"agent", Object{{"kind", "mock"}}},
                                              {"prompt", "x"},
                                              {"timeoutMs", 3600001}}}})
                .reasons,
            Reasons{"timeoutMs 3600001 is over the policy maximum of 60 minutes"});
  // No host, nothing to spend: the contract stays as the request has it.
  EXPECT_FALSE(Decide(max, {}).budget.max_spend_usd);
  Object open{{"network", Object{{"defaultDeny", true}, {"allowHosts", Array{"api.example.com"}}}}};
  Object open_max = open;
  open_max.Set("budget", *max.Find("budget"));
  EXPECT_EQ(Decide(open_max, open).budget.max_spend_usd, 25);
  // The default time-out of ten minutes is cut where the policy has less.
  EXPECT_EQ(Decide({{"budget", Object{{"maxSpendUsd", 1}, {"maxDurationMin", 5}}}}, {})
                .budget.max_duration_min,
            5);
}

TEST(PolicyEngine, AsksForEachConsentThatARuleNames) {
  Object rules{
      {"secrets",
       Object{{"releasable",
               Array{Object{{"name", "A"}, {"scope", "s"}, {"pools", Array{"default"}}},
                     Object{{"name", "B"}, {"scope", "s"}, {"pools", Array{"default"}}}}}}},
      {"consent",
       Array{Object{{"when", "any-run"}, {"approvers", Array{"lead"}}},
             Object{{"when", "agent-kind"}, {"match", "mock"}, {"approvers", Array{"sec"}}},
             Object{{"when", "agent-kind"}, {"match", "codex"}, {"approvers", Array{"sec"}}},
             Object{{"when", "secret-release"}, {"match", "B"}, {"approvers", Array{"boss"}}}}}};
  auto decision = Decide(rules, {{"secretNames", Array{"A", "B"}}});
  EXPECT_EQ(decision.verdict, Verdict::kAsk);
  EXPECT_EQ(decision.reason, "consent required: any-run, agent-kind:mock, secret-release:B");
}

TEST(PolicyEngine, TwoRulesForOneThingLeaveWhoSatisfiesBoth) {
  Object rules{{"consent", Array{Object{{"when", "any-run"}, {"approvers", Array{"a", "b"}}},
                                 Object{{"when", "any-run"}, {"approvers", Array{"b", "c"}}}}}};
  auto decision = Decide(rules, {});
  ASSERT_EQ(decision.requirements.size(), 1u);
  EXPECT_EQ(decision.requirements[0].approvers, std::vector<std::string>{"b"});
}

TEST(CheckPolicy, AcceptsThePolicyThatInitWrites) {
  auto verdict = CheckPolicy(DefaultPolicy());
  EXPECT_TRUE(verdict.issues.empty());
  EXPECT_EQ(verdict.policy_hash.size(), 64u);
}

TEST(CheckPolicy, RefusesEveryPartThatCouldNotBeEnforced) {  // L4
  auto refused = [](const Object& changes) {
    Object policy = BasePolicy();
    for (const auto& member : changes) policy.Set(member.name, member.value);
    return !CheckPolicy(json::Write(Value(policy))).issues.empty();
  };
  EXPECT_TRUE(refused({{"novelty", 1}}));
  EXPECT_TRUE(refused(
      {{"dataClasses", Array{Object{{"dataClass", "pii"}, {"allowPools", Array{"default"}}}}}}));
  EXPECT_TRUE(refused({{"consent", Array{Object{{"when", "any-run"}, {"approvers", Array{}}}}}}));
  EXPECT_TRUE(
      refused({{"consent", Array{Object{{"when", "full-moon"}, {"approvers", Array{"a"}}}}}}));
  EXPECT_TRUE(
      refused({{"consent",
                Array{Object{{"when", "any-run"}, {"match", "x"}, {"approvers", Array{"a"}}}}}}));
  EXPECT_TRUE(refused({{"retention", Object{{"receiptsDays", 0}, {"artifactsDays", 0}}}}));
  EXPECT_FALSE(CheckPolicy("{\"version\":").issues.empty());
  EXPECT_FALSE(CheckPolicy("[]").issues.empty());
}

TEST(CheckPolicy, TellsEveryPlaceAtOnceWithItsOwnCode) {
  Object policy = BasePolicy();
  policy.Set("novelty", 1);
  policy.Set("version", "x");
  policy.Set("dataClasses", Array{Object{{"dataClass", "pii"}, {"allowPools", Array{"default"}}},
                                  Object{{"dataClass", 7}, {"allowPools", Array{"default"}}}});
  policy.Set("consent", Array{Object{{"when", "full-moon"}, {"approvers", Array{}}},
                              Object{{"when", "any-run"}, {"approvers", Array{5}}}});
  policy.Set("secrets", Object{{"releasable", Array{Object{{"name", "TOKEN"},
                                                           {"scope", "pool:default"},
                                                           {"pools", Array{"default", "a b"}}}}}});
  policy.Set("retention", Object{{"receiptsDays", 0}, {"artifactsDays", -1}});
  std::vector<std::string> told;
  for (const json::Issue& issue : CheckPolicy(json::Write(Value(policy))).issues)
    told.push_back(issue.pointer + " " + issue.code);
  std::sort(told.begin(), told.end());
  EXPECT_EQ(told, (std::vector<std::string>{
                      "/consent/0/approvers policy.unenforceable",
                      "/consent/0/when object.enum",
                      "/consent/1/approvers/0 object.type",
                      "/dataClasses/0/dataClass policy.unenforceable",
                      "/dataClasses/1/dataClass object.type",
                      "/novelty object.unknown",
                      "/retention/artifactsDays object.range",
                      "/retention/receiptsDays object.range",
                      "/secrets/releasable/0/pools/1 name.pool",
                      "/version object.version",
                  }));
}

TEST(RunRequest, RefusesWhatItDoesNotKnowWithThePlace) {  // L3
  auto issue = [](const Object& changes) {
    auto parsed = ParseRunRequest(json::Write(Request(changes)), 1 << 20);
    return parsed && !parsed->issues.empty() ? parsed->issues.front().pointer : std::string("none");
  };
  EXPECT_EQ(issue({{"prompt", ""}}), "/request/prompt");
  EXPECT_EQ(issue({{"prompt", 5}}), "/request/prompt");
  EXPECT_EQ(issue({{"pool", "no spaces"}}), "/request/pool");
  EXPECT_EQ(issue({{"disclosure", "everything"}}), "/request/disclosure");
  EXPECT_EQ(issue({{"sandboxed", true}}), "/request/sandboxed");
  EXPECT_EQ(issue({{"secretNames", Array{"A", "A"}}}), "/request/secretNames/1");
  EXPECT_EQ(issue({{"secretNames", Array{"1A"}}}), "/request/secretNames/0");
  EXPECT_EQ(issue({{"continuation", Object{}}}), "/request/continuation/envelopeHash");
  EXPECT_EQ(issue({{"isolation", "cardboard"}}), "/request/isolation");
  EXPECT_EQ(issue({{"network", Object{{"defaultDeny", true}, {"allowHosts", Array{"http://x"}}}}}),
            "/request/network/allowHosts/0");
  EXPECT_EQ(
      issue({{"execution",
              Object{{"kind", "agent"}, {"agent", Object{{"kind", "codex"}}}, {"prompt", "x"}}}}),
      "/request/execution/agent/kind");
  EXPECT_EQ(issue({{"budget", Object{{"maxSpendUsd", -1}}}}), "/request/budget/maxSpendUsd");
}

TEST(RunRequest, SaysAnEmptyPromptInTheRecordedWords) {
  auto parsed = ParseRunRequest(json::Write(Request({{"prompt", ""}})), 1 << 20);
  ASSERT_EQ(parsed->issues.size(), 1u);
  EXPECT_EQ(parsed->issues[0].text,
            "request.prompt: Too small: expected string to have >=1 characters");
}

TEST(RunRequest, TheTimeOutIsTheSmallerOfBothOrTenMinutes) {
  auto timeout = [](const Object& changes) { return Parsed(changes).Timeout().count(); };
  Object execution{{"kind", "shell"}, {"script", "x"}, {"timeoutMs", 90000}};
  EXPECT_EQ(timeout({}), 600000);
  EXPECT_EQ(timeout({{"budget", Object{{"maxDurationMin", 30}}}}), 1800000);
  EXPECT_EQ(timeout({{"agentKind", "command"},
                     {"execution", execution},
                     {"budget", Object{{"maxDurationMin", 1}}}}),
            60000);
  EXPECT_EQ(timeout({{"agentKind", "command"},
                     {"execution", execution},
                     {"budget", Object{{"maxDurationMin", 2}}}}),
            90000);
}

}  // namespace
}  // namespace writ::plane
